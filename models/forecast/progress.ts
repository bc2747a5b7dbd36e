/** Progress on stderr, so that stdout holds the tables alone: a bar on a terminal, one line per series elsewhere. */
import { Presets, SingleBar } from 'cli-progress';
import type { OnProgress } from './job.js';
import { trials } from './job.js';

export type Progress = { readonly update: OnProgress; readonly stop: () => void };

export function showProgress(title: string): Progress {
  if (!process.stderr.isTTY) {
    console.error(`${title}: choosing settings, forecasting ...`);
    return { update: () => undefined, stop: () => undefined };
  }
  const bar = new SingleBar(
    {
      format: `${title} {bar} {percentage} % | {label}`,
      stream: process.stderr,
      clearOnComplete: true,
      stopOnComplete: true,
    },
    Presets.shades_classic,
  );
  bar.start(trials(), 0, { label: 'reading' });
  return { update: (done, _of, label) => bar.update(done, { label }), stop: () => bar.stop() };
}
