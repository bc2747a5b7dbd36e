/** Layers of attention without MLP and without a convolution: what stands beside a key has to be found by attention. */
export { tokenModel } from '../common/token_model.js';
