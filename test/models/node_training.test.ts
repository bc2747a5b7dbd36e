import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Run {
  readonly losses: readonly number[];
  readonly stepsPerSecond: number;
}

const SMALL = ['--batch', '2', '--context', '32', '--dim', '16', '--heads', '2', '--layers', '1', '--steps', '24'];

test('model.fit lowers the loss of the example in Node, the same in every run', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tfjs-lla-node-training-'));
  try {
    const file = join(folder, 'runs.jsonl');
    const args = ['--import', 'tsx', 'models/node_training/main.ts', '--backend', 'cpu', ...SMALL, '--json', file];
    for (let run = 0; run < 2; run++) execFileSync(process.execPath, args, { stdio: 'pipe' });
    const [first, second] = readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Run);
    expect(first.losses).toHaveLength(24);
    expect(first.losses[23]).toBeLessThan(first.losses[0] / 2);
    expect(first.stepsPerSecond).toBeGreaterThan(0);
    expect(second.losses).toEqual(first.losses);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 60_000);
