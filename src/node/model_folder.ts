/** Models as folders on disk. tfjs has this in tfjs-node only, which not every machine can install. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { io, util } from '@tensorflow/tfjs-core';
import { printed, reject } from '../../kernels/common/validate.js';

const MODEL = 'model.json';
const WEIGHTS = 'weights.bin';

/**
 * A folder that `model.save` writes to and `tf.loadLayersModel` reads from, in plain Node, without tfjs-node.
 *
 * It holds `model.json` and `weights.bin` in the format that tfjs uses everywhere: a page loads the same folder by
 * `tf.loadLayersModel('.../model.json')`. A folder that does not exist is made; a model in it is replaced.
 *
 * ```js
 * import { modelFolder } from 'tfjs-lla/node';
 *
 * await model.save(modelFolder('my-model'));
 * const again = await tf.loadLayersModel(modelFolder('my-model'));
 * ```
 *
 * @throws Error that names the file, for a folder that cannot be written or holds no model.
 */
export function modelFolder(path: string): io.IOHandler {
  if (typeof path !== 'string' || path === '') {
    reject('modelFolder', 'path', `must be a text that is not empty, got ${printed(path)}`);
  }
  return { save: (artifacts) => save(path, artifacts), load: () => load(path) };
}

async function save(path: string, artifacts: io.ModelArtifacts): Promise<io.SaveResult> {
  const { weightData, weightSpecs = [], getWeightStream, ...rest } = artifacts;
  if (getWeightStream !== undefined || rest.modelTopology instanceof ArrayBuffer) {
    reject('modelFolder', 'model', 'must be a layers model: graph models come from files and cannot be saved');
  }
  const weightsManifest = [{ paths: [WEIGHTS], weights: weightSpecs }];
  await mkdir(path, { recursive: true });
  // The model that is there stays whole until both new files are complete.
  const write = async (file: string, content: string | Uint8Array) => {
    await writeFile(join(path, `${file}.new`), content);
    return () => rename(join(path, `${file}.new`), join(path, file));
  };
  const put = [
    await write(WEIGHTS, new Uint8Array(io.CompositeArrayBuffer.join(weightData))),
    await write(MODEL, JSON.stringify({ ...rest, weightsManifest })),
  ];
  for (const replace of put) await replace();
  return { modelArtifactsInfo: io.getModelArtifactsInfoForJSON(artifacts) };
}

async function load(path: string): Promise<io.ModelArtifacts> {
  const read = (file: string) =>
    readFile(join(path, file)).catch((error: unknown) => {
      throw new Error(`modelFolder: cannot read ${join(path, file)}: ${String(error)}`, { cause: error });
    });
  const text = (await read(MODEL)).toString();
  let model: io.ModelJSON;
  try {
    model = JSON.parse(text) as io.ModelJSON;
  } catch (error) {
    throw new Error(`modelFolder: ${join(path, MODEL)} is no JSON: ${String(error)}`, { cause: error });
  }
  return io.getModelArtifactsForJSON(model, async (manifest) => {
    const files = await Promise.all(manifest.flatMap(({ paths }) => paths).map(read));
    const buffers = files.map(({ buffer, byteOffset, length }) => buffer.slice(byteOffset, byteOffset + length));
    const specs = io.getWeightSpecs(manifest);
    const data = io.CompositeArrayBuffer.join(buffers);
    const size = byteSize(specs);
    if (size !== undefined && size !== data.byteLength) {
      const paths = manifest.flatMap((group) => group.paths).join(', ');
      throw new Error(`modelFolder: ${paths} in ${path} has ${data.byteLength} bytes, its weights need ${size}`);
    }
    return [specs, data];
  });
}

/** Bytes of weights; unknown for those that the converter of tfjs has quantized, and for texts. */
function byteSize(specs: readonly io.WeightsManifestEntry[]): number | undefined {
  if (specs.some(({ dtype, quantization }) => dtype === 'string' || quantization !== undefined)) return undefined;
  const width = { bool: 1, complex64: 8 } as Readonly<Record<string, number>>;
  return specs.reduce((sum, { shape, dtype }) => sum + util.sizeFromShape(shape) * (width[dtype] ?? 4), 0);
}
