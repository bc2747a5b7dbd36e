/**
 * A checkpoint: the weights and the optimizer's state as a safetensors file, whose notes hold everything else. With the
 * seed and the step the random numbers of all later steps are given, too.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { loadSafetensors, saveSafetensors } from '../../src/safetensors/index.js';
import { codeOf, reason, writeAtomically } from '../common/files.js';
import { InputError } from '../common/input_error.js';
import type { Adam } from './adam.js';
import { difference, type Progress, type RunKey } from './record.js';
import { trainedVariables } from './weights.js';

export interface CheckpointState extends Progress {
  readonly key: RunKey;
  /** Time spent so far. */
  readonly seconds: number;
}

const STATE = 'tfjs-lla/train';
const DIGEST = 'tfjs-lla/sha256';

/** The variables under names that do not depend on how many models this process has made. */
function contents(model: LayersModel, adam: Adam) {
  const named = trainedVariables(model).map((variable, index) => ({
    id: variable.id,
    name: `${index}`,
    originalName: `${String(index).padStart(3, '0')}/${model.trainableWeights[index].originalName}`,
    shape: variable.shape,
    dtype: variable.dtype,
    read: () => variable,
    write: (value: tf.Tensor) => variable.assign(value),
  }));
  const [mean, square] = adam.state;
  const state = [mean, square].map((variable, index) => ({
    id: variable.id,
    name: variable.name,
    originalName: `optimizer/${index === 0 ? 'mean' : 'square'}`,
    shape: variable.shape,
    dtype: variable.dtype,
    read: () => variable,
    write: (value: tf.Tensor) => variable.assign(tf.reshape<tf.Rank.R1>(value, [-1])),
  }));
  return { weights: [...named, ...state] };
}

/** Where the numbers begin, behind the header and its length. */
const dataStart = (bytes: Uint8Array): number =>
  8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));

const digest = (state: string, bytes: Uint8Array): string =>
  createHash('sha256')
    .update(state)
    .update(bytes.subarray(dataStart(bytes)))
    .digest('hex');

export async function saveCheckpoint(
  file: string,
  model: LayersModel,
  adam: Adam,
  state: CheckpointState,
): Promise<void> {
  const text = JSON.stringify(state);
  const save = (notes: Record<string, string>) => saveSafetensors(contents(model, adam), { metadata: notes });
  // The digest stands before the numbers that it is of.
  const sum = digest(text, await save({}));
  await writeAtomically(file, await save({ [STATE]: text, [DIGEST]: sum }));
}

/** Reads the state of a checkpoint that is whole; throws what is wrong with the file otherwise. */
function readState(file: string, bytes: Uint8Array): CheckpointState {
  const damaged = (what: string) => new InputError(`${file}: ${what}; --restart begins the run anew`);
  let notes: Readonly<Record<string, unknown>>;
  try {
    const header: unknown = JSON.parse(new TextDecoder().decode(bytes.subarray(8, dataStart(bytes))));
    notes = (header as { readonly __metadata__: Readonly<Record<string, unknown>> }).__metadata__;
  } catch {
    throw damaged('this is not a checkpoint, or it is damaged');
  }
  const { [STATE]: state, [DIGEST]: sum } = (notes as Readonly<Record<string, unknown>> | undefined) ?? {};
  if (typeof state !== 'string' || typeof sum !== 'string') throw damaged('this is not a checkpoint of the trainer');
  if (digest(state, bytes) !== sum) throw damaged('the checkpoint is damaged (its digest does not fit)');
  return JSON.parse(state) as CheckpointState;
}

/** Sets model and optimizer from a checkpoint of the same run; nothing where there is no file. */
export async function loadCheckpoint(
  file: string,
  model: LayersModel,
  adam: Adam,
  key: RunKey,
): Promise<CheckpointState | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.from(await readFile(file));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw new InputError(`cannot read ${file}: ${reason(error)}`);
  }
  const state = readState(file, bytes);
  const other = difference(state.key, key);
  if (other !== undefined) {
    throw new InputError(`${file}: the checkpoint is of ${other}; --restart begins anew, --out takes another folder`);
  }
  try {
    await loadSafetensors(contents(model, adam), bytes, { fileName: file });
  } catch (error) {
    // The weights of another version of the model's code.
    throw new InputError(
      `the checkpoint does not fit the model: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  return state;
}
