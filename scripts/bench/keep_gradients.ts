/**
 * `npm run bench:references`: computes the gradients of keys and values that the suites are checked against and writes
 * those that are missing to `kept_gradients.json`. Delete the file to have all of them anew: about half an hour on two
 * cores.
 */
import { fork } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import type { BenchCase } from './cases.js';
import { keep, keptName } from './kept_gradients.js';
import { suites } from './suites.js';

const file = fileURLToPath(new URL('kept_gradients.json', import.meta.url));

/** Lengths up to here are computed when they are needed. */
const LONGEST_LIVE = 512;

/** Cases without an entry, those that differ in their ridge only together. */
function missingCases(kept: object): BenchCase[][] {
  const settings = { backend: 'webgpu', heads: 1, length: 1, dim: 1, ridge: 1, tolerance: 1, growth: 0 };
  const gradients = Object.values(suites)
    .flatMap((suite) => suite(settings))
    .filter(({ direction, keys }) => direction === 'gradient' && keys > LONGEST_LIVE)
    .filter((one) => !(keptName(one) in kept));
  const byName = new Map(gradients.map((one) => [keptName(one), one]));
  const groups = new Map<string, BenchCase[]>();
  for (const one of byName.values()) {
    const name = keptName({ ...one, ridge: undefined });
    groups.set(name, [...(groups.get(name) ?? []), one]);
  }
  return [...groups.values()];
}

const CHILD = '--child';

/** A process for each case: a loader of TypeScript is handed on to processes, not to worker threads. */
function inProcess(cases: BenchCase[]): Promise<object> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), [CHILD]);
    child.once('message', resolve);
    child.once('exit', (code) => reject(new Error(`${keptName(cases[0])}: the process ended with ${String(code)}`)));
    child.send(cases);
  });
}

async function computeMissing(): Promise<void> {
  const kept = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  const queue = missingCases(kept);
  const options = await resolveConfig(file);
  const next = async (): Promise<void> => {
    for (let cases = queue.shift(); cases !== undefined; cases = queue.shift()) {
      const start = Date.now();
      Object.assign(kept, await inProcess(cases));
      const sorted = Object.fromEntries(Object.entries(kept).sort(([a], [b]) => (a < b ? -1 : 1)));
      writeFileSync(file, await format(JSON.stringify(sorted), { ...options, parser: 'json' }));
      console.log(`${keptName(cases[0])}: ${((Date.now() - start) / 1000).toFixed(0)} s, ${queue.length} to go`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, next));
}

if (process.argv.includes(CHILD)) {
  process.once('message', (cases) => {
    process.send?.(keep(cases as BenchCase[]), () => process.exit());
  });
} else {
  await computeMissing();
}
