/** The models that the experiments saved, as files of the site. */
import * as tf from '@tensorflow/tfjs-core';
import { type LayersModel, loadLayersModel } from '@tensorflow/tfjs-layers';

/** Addresses by the paths of their files, as `import.meta.glob` gives them. */
export type Addresses = Readonly<Record<string, string>>;

/** Told how much of a model has come. */
export type OnBytes = (loaded: number, total: number) => void | Promise<void>;

/** `../results/NAME/model.json`, `../results/NAME/weights-....bin` */
const folderOf = (path: string): string => path.split('/').slice(-2)[0];

export const namesOf = (models: Addresses): string[] => Object.keys(models).map(folderOf).sort();

async function get(address: string): Promise<Response> {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`cannot load ${address}: ${response.status} ${response.statusText}`);
  return response;
}

/** Reads weights of a length that is known, piece by piece. */
async function readWeights(addresses: readonly string[], total: number, onBytes: OnBytes): Promise<ArrayBuffer> {
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const address of addresses) {
    const { body } = await get(address);
    if (body === null) throw new Error(`cannot load ${address}: the answer is empty`);
    const reader = body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (at + part.value.length > total) throw new Error(`${address} holds more bytes than model.json lists`);
      bytes.set(part.value, at);
      at += part.value.length;
      await onBytes(at, total);
    }
  }
  if (at !== total) throw new Error(`the weights hold ${at} bytes where model.json lists ${total}`);
  return bytes.buffer;
}

/** A weight's bytes for each number, in a model of float32 weights that may be kept as float16. */
function bytesOf({ name, dtype, quantization }: tf.io.WeightsManifestEntry): number {
  if (dtype !== 'float32') throw new Error(`weight ${name} is ${dtype}, not float32`);
  if (quantization === undefined) return 4;
  if (quantization.dtype === 'float16') return 2;
  throw new Error(`weight ${name} is kept as ${quantization.dtype}, not as float32 or float16`);
}

/** Loads a model by its folder's name. */
export async function loadSaved(
  name: string,
  files: { readonly models: Addresses; readonly weights: Addresses },
  onBytes: OnBytes,
): Promise<LayersModel> {
  const path = Object.keys(files.models).find((one) => folderOf(one) === name);
  if (path === undefined) throw new Error(`there is no saved model '${name}'`);
  const model = (await (await get(files.models[path])).json()) as tf.io.ModelJSON;
  const specs = model.weightsManifest.flatMap(({ weights }) => weights);
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  const paths = model.weightsManifest.flatMap(({ paths: parts }) => parts.map((part) => folder + part));
  const missing = paths.find((part) => !(part in files.weights));
  if (missing !== undefined) throw new Error(`the site has no file ${missing}`);
  const total = specs.reduce((sum, spec) => sum + bytesOf(spec) * tf.util.sizeFromShape(spec.shape), 0);
  const addresses = paths.map((part) => files.weights[part]);
  const weightData = await readWeights(addresses, total, onBytes);
  const { modelTopology, userDefinedMetadata } = model;
  return loadLayersModel(tf.io.fromMemory({ modelTopology, userDefinedMetadata, weightSpecs: specs, weightData }));
}
