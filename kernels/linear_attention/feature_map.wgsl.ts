import type { ElementMap } from '../common/webgpu/row_layout.js';
import type { FeatureMap } from './spec.js';

const maps: Readonly<Record<FeatureMap, ElementMap | undefined>> = {
  'elu+1': {
    name: 'eluPlusOne',
    text: 'fn eluPlusOne(x: vec4f) -> vec4f { return select(exp(min(x, vec4f())), x + 1.0, x > vec4f()); }',
  },
  relu: { name: 'relu', text: 'fn relu(x: vec4f) -> vec4f { return max(x, vec4f()); }' },
  identity: undefined,
};

/** `phi`, for the shaders that prepare inputs; undefined for the identity. */
export const featureMapOf = (name: FeatureMap): ElementMap | undefined => maps[name];

/** `phi'(x)` of a quad, from `phi(x)`: the features are all that the kernels keep. */
export const derivativeOf: Readonly<Record<FeatureMap, (phi: string) => string>> = {
  // `exp(x)` below zero, where it is `phi` itself, and 1 above.
  'elu+1': (phi) => `min(${phi}, vec4f(1.0))`,
  relu: (phi) => `select(vec4f(), vec4f(1.0), ${phi} > vec4f())`,
  identity: () => 'vec4f(1.0)',
};
