/** Transformer blocks: a composition is no sum of its parts, so each layer of attention has an MLP behind it. */
export { tokenModel } from '../common/token_model.js';
