/**
 * Reading and writing the weights of layers and models as safetensors files.
 *
 * @packageDocumentation
 */
export { loadSafetensors, type LoadedSafetensors, type LoadSafetensorsOptions } from './load.js';
export type { TensorMapping, WeightMap, WeightMapFunction } from './mapping.js';
export { saveSafetensors, type SaveSafetensorsOptions } from './save.js';
export type { FileSource } from './file_source.js';
export type { OpenedFile, SafetensorsSource } from './source.js';
export {
  fromLinear,
  torchAttention,
  torchMultiheadAttention,
  type FromLinearOptions,
  type TorchAttentionOptions,
  type TorchProjectionOptions,
} from './torch.js';
export type { HasWeights, LayerWeight } from './weights.js';
