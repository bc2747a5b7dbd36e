import type { FeatureMap } from './spec.js';

/** `phi` of a texel `x`; undefined where it is the identity. exp(x) where x is not positive: elu(x) + 1 would lose it. */
export function featureMapGlsl(name: FeatureMap): { name: string; text: string } | undefined {
  if (name === 'identity') return undefined;
  return { name, text: name === 'relu' ? 'max(x, 0.0)' : 'max(x, 0.0) + exp(min(x, 0.0))' };
}

/** `phi'` of a number, from its feature `f`. */
export function featureDerivativeGlsl(name: FeatureMap, f: string): string {
  if (name === 'identity') return '1.0';
  return name === 'relu' ? `(${f} > 0.0 ? 1.0 : 0.0)` : `min(${f}, 1.0)`;
}
