/** What the tour leaves behind. */
import { join } from 'node:path';
import { assertWritable } from '../common/files.js';
import type { Attention } from '../trainer/experiment.js';

export const TWINS = ['localLinear', 'softmax'] as const satisfies readonly Attention[];

export const pictureOf = (out: string): string => join(out, 'losses.svg');

/** Folder of a twin's saved model. */
export const modelOf = (out: string, twin: (typeof TWINS)[number]): string => join(out, twin);

/** Tells before the work begins what would fail after it. */
export async function assertOutputs(out: string): Promise<void> {
  for (const file of [pictureOf(out), ...TWINS.map((twin) => join(modelOf(out, twin), 'model.json'))]) {
    await assertWritable(file);
  }
}
