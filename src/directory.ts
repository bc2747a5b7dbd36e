/** Saving models to a directory and loading them again, in Node without tfjs-node. */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { basename, isAbsolute, join, normalize } from 'node:path';
import { io } from '@tensorflow/tfjs-core';
import { printed, reject } from '../kernels/common/validate.js';

const MODEL = 'model.json';
/** Weights are named by their content, so that a new file never takes the place of one that a model still refers to. */
const WEIGHTS = /^weights-[0-9a-f]{16}\.bin$/;

/**
 * A handler that keeps a model in a directory: `model.json` and a file of weights, the format of tfjs's `file://` and
 * `http://` handlers, which can read it.
 *
 * ```js
 * import { directory } from 'tfjs-lla/node';
 *
 * await model.save(directory('models/mine'), { includeOptimizer: true });
 * const again = await tf.loadLayersModel(directory('models/mine'));
 * ```
 *
 * A model that is saved takes the place of the one before at one moment, when its `model.json` is renamed: whatever
 * happens before that, even a loss of power, leaves the old one whole.
 *
 * @param path The directory; saving makes it where it is missing.
 * @throws Error that names the file, when saving or loading, where something is missing, damaged or not readable.
 */
export function directory(path: string): Required<Pick<io.IOHandler, 'save' | 'load'>> {
  const given: unknown = path;
  if (typeof given !== 'string' || given === '') {
    reject('directory', 'path', `must be the name of a directory, got ${printed(given)}`);
  }
  return { save: (artifacts) => save(path, artifacts), load: () => load(path) };
}

async function save(folder: string, artifacts: io.ModelArtifacts): Promise<io.SaveResult> {
  const { modelTopology, weightSpecs, weightData, ...rest } = artifacts;
  if (modelTopology instanceof ArrayBuffer) {
    reject('directory', 'model', 'has a binary topology, which model.json cannot hold');
  }
  await mkdir(folder, { recursive: true });
  const replaced = await weightFiles(folder).catch(() => []);
  const bytes = Buffer.from(io.CompositeArrayBuffer.join(weightData));
  const name = `weights-${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}.bin`;
  await writeWhole(folder, name, bytes);
  const weightsManifest = [{ paths: [name], weights: weightSpecs ?? [] }];
  await writeWhole(folder, MODEL, JSON.stringify({ ...rest, modelTopology, weightsManifest }));
  const stale = replaced.filter((file) => WEIGHTS.test(file) && file !== name);
  await Promise.all(stale.map((file) => rm(join(folder, file), { force: true })));
  return { modelArtifactsInfo: io.getModelArtifactsInfoForJSON(artifacts) };
}

/** Writes a file beside its place and moves it there when it is on the disk. */
async function writeWhole(folder: string, name: string, content: string | Uint8Array): Promise<void> {
  const temporary = join(folder, `.${name}.${randomUUID()}.tmp`);
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, join(folder, name));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function load(folder: string): Promise<io.ModelArtifacts> {
  return io.getModelArtifactsForJSON(await readModel(folder), async (manifest) => {
    const specs = manifest.flatMap(({ weights }) => weights);
    const parts: Uint8Array[] = [];
    for (const path of manifest.flatMap(({ paths }) => paths)) parts.push(await readWeights(folder, path));
    const bytes = Buffer.concat(parts);
    checkLength(folder, specs, bytes.length);
    const data = new ArrayBuffer(bytes.length);
    new Uint8Array(data).set(bytes);
    return [specs, data];
  });
}

async function readModel(folder: string): Promise<io.ModelJSON> {
  const file = join(folder, MODEL);
  const text = await readFile(file, 'utf8').catch((error: unknown) => fail(file, 'cannot be read', error));
  let model: Partial<io.ModelJSON> | null;
  try {
    model = JSON.parse(text) as Partial<io.ModelJSON> | null;
  } catch (error) {
    return fail(file, 'is not JSON', error);
  }
  if (!model?.modelTopology || !Array.isArray(model.weightsManifest)) {
    return fail(file, 'is no model: it has no modelTopology or no weightsManifest');
  }
  return model as io.ModelJSON;
}

/** Names of the files of weights that the model in a directory consists of. */
async function weightFiles(folder: string): Promise<string[]> {
  const { weightsManifest } = await readModel(folder);
  return weightsManifest.flatMap(({ paths }) => paths.map((path) => basename(path)));
}

async function readWeights(folder: string, path: string): Promise<Uint8Array> {
  // A model from somewhere else must not read files of somewhere else.
  if (isAbsolute(path) || normalize(path).startsWith('..')) {
    return fail(join(folder, MODEL), `refers to weights outside of its directory: ${printed(path)}`);
  }
  const file = join(folder, path);
  return readFile(file).catch((error: unknown) => fail(file, 'cannot be read', error));
}

const BYTES: Readonly<Record<string, number>> = {
  float32: 4,
  int32: 4,
  bool: 1,
  uint8: 1,
  uint16: 2,
  float16: 2,
  complex64: 8,
};

/** Weights that were cut off, or belong to another model. Strings have no length that is known beforehand. */
function checkLength(folder: string, specs: readonly io.WeightsManifestEntry[], actual: number): void {
  const lengths = specs.map(({ shape, dtype, quantization }) => {
    const size = BYTES[quantization === undefined ? dtype : quantization.dtype] as number | undefined;
    return size === undefined ? undefined : shape.reduce((product, n) => product * n, size);
  });
  if (lengths.includes(undefined)) return;
  const expected = lengths.reduce<number>((total, length) => total + (length ?? 0), 0);
  if (expected !== actual) fail(folder, `holds ${actual} bytes of weights where model.json lists ${expected}`);
}

function fail(file: string, problem: string, cause?: unknown): never {
  const reason = cause instanceof Error ? `: ${cause.message}` : '';
  throw new Error(`directory: ${file} ${problem}${reason}`, { cause });
}
