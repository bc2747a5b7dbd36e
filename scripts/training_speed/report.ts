/** The table of training speeds: one file of figures, to which each backend's run adds its own. */
import { readJson, writeAtomically } from '../../models/common/files.js';
import { LABELS } from '../../models/trainer/summary.js';
import type { Shape, Speed } from './measure.js';

export interface Run {
  readonly backend: string;
  readonly adapter: string;
  readonly driver: string;
  readonly date: string;
  readonly command: string;
  readonly node: string;
  readonly shape: Shape;
  readonly warmUp: number;
  readonly speeds: readonly Speed[];
}

export async function readRuns(file: string): Promise<Run[]> {
  return (await readJson(file)) as Run[];
}

const isSame = (a: Run, b: Run): boolean =>
  a.backend === b.backend && a.adapter === b.adapter && JSON.stringify(a.shape) === JSON.stringify(b.shape);

/** Runs with one more, which takes the place of an earlier one of the same backend, device and shape. */
export const withRun = (runs: readonly Run[], run: Run): Run[] => [...runs.filter((other) => !isSame(other, run)), run];

export const writeRuns = (file: string, runs: readonly Run[]): Promise<void> =>
  writeAtomically(file, `${JSON.stringify(runs, undefined, 1)}\n`);

const milliseconds = (time: number): string => (time < 1000 ? time.toPrecision(3) : String(Math.round(time)));

const row = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;

function tableOf({ shape, speeds }: Run): string {
  const tokens = shape.batch * shape.context;
  const softmax = speeds.find(({ attention }) => attention === 'softmax');
  return [
    row(['attention', 'steps/s', 'ms per step', 'tokens/s', 'speed / softmax', 'loss, first to last', 'steps timed']),
    `|---|${'---:|'.repeat(6)}`,
    ...speeds.map(({ attention, stepsPerSecond, steps, losses }) =>
      row([
        LABELS[attention],
        stepsPerSecond.toPrecision(3),
        milliseconds(1000 / stepsPerSecond),
        Math.round(stepsPerSecond * tokens),
        softmax === undefined ? '-' : (stepsPerSecond / softmax.stepsPerSecond).toFixed(2),
        losses.map((loss) => loss.toFixed(2)).join(' to '),
        steps,
      ]),
    ),
  ].join('\n');
}

/** One section a run. */
export function markdownOf(runs: readonly Run[]): string {
  return runs
    .map((run) => {
      const { dim, heads, layers, context, batch } = run.shape;
      const device = run.driver === '' ? run.adapter : `${run.adapter} (driver: ${run.driver})`;
      return [
        `## \`${run.backend}\` on ${device}`,
        '',
        `\`${run.command}\`, ${run.date}, Node ${run.node}; dimension ${dim}, ${heads} heads, ${layers} layers, context ` +
          `${context}, batch ${batch}, ${run.speeds[0]?.weights ?? 0} weights; timed after ${run.warmUp} steps.`,
        '',
        tableOf(run),
      ].join('\n');
    })
    .join('\n\n');
}
