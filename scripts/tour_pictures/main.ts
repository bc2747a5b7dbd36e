/** `npm run tour:pictures`: runs `npm start` and keeps what it prints, and its picture of the losses, as those of the READMEs. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pictureOf } from '../../models/tour/files.js';
import { shortened, terminal } from './terminal.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const results = join(root, 'models', 'tour', 'results');

const folder = mkdtempSync(join(tmpdir(), 'tfjs-lla-pictures-'));
try {
  const svg = join(folder, 'forecast.svg');
  const { status, stdout } = spawnSync(
    process.execPath,
    ['--import', 'tsx', 'models/tour/main.ts', '--out', folder, '--svg', svg],
    { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
  );
  if (status !== 0) throw new Error(`npm start ended with code ${status}:\n${stdout}`);
  // The picture is of the plain command, whose files go here.
  const text = stdout
    .replaceAll(svg, 'models/forecast/results/forecast.svg')
    .replaceAll(folder, 'models/tour/results/runs');
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, 'tour.svg'), await terminal(`$ npm start\n${shortened(text)}`));
  copyFileSync(pictureOf(folder), join(results, 'losses.svg'));
  console.log(`written to ${results}: tour.svg, losses.svg`);
} finally {
  rmSync(folder, { recursive: true });
}
