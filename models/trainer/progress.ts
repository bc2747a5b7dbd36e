/** Progress on stderr: a bar on a terminal, a line every few seconds elsewhere. */
import { Presets, SingleBar } from 'cli-progress';

export interface ProgressLine {
  readonly step: number;
  readonly loss: number;
  readonly rate: number;
  /** Seconds. */
  readonly left: number;
}

export interface ProgressDisplay {
  update(line: ProgressLine): void;
  stop(): void;
}

/** Milliseconds between two lines where there is no terminal. */
const PAUSE = 10_000;

const shown = ({ loss, rate, left }: ProgressLine) => ({
  loss: loss.toPrecision(4),
  rate: rate.toExponential(1),
  left: left < 100 ? `${Math.ceil(left)} s` : `${Math.ceil(left / 60)} min`,
});

export function showProgress(title: string, first: number, steps: number): ProgressDisplay {
  if (!process.stderr.isTTY) {
    let last = Date.now();
    process.stderr.write(`${title}: ${first > 0 ? `goes on after step ${first} of` : 'begins,'} ${steps} steps\n`);
    return {
      update(line) {
        if (Date.now() - last < PAUSE) return;
        last = Date.now();
        const { loss, rate, left } = shown(line);
        process.stderr.write(`${title}: step ${line.step} of ${steps}, loss ${loss}, rate ${rate}, ${left} left\n`);
      },
      stop: () => undefined,
    };
  }
  const bar = new SingleBar(
    {
      format: `${title} {bar} {value}/{total} | loss {loss} | rate {rate} | {left} left`,
      stream: process.stderr,
      clearOnComplete: true,
    },
    Presets.shades_classic,
  );
  bar.start(steps, first, { loss: '-', rate: '-', left: '-' });
  return { update: (line) => bar.update(line.step, shown(line)), stop: () => bar.stop() };
}
