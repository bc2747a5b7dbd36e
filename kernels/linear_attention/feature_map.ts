import type { FeatureMap } from './spec.js';

const values: Readonly<Record<FeatureMap, (x: number) => number>> = {
  'elu+1': (x) => (x > 0 ? x + 1 : Math.exp(x)),
  relu: (x) => (x > 0 ? x : 0),
  identity: (x) => x,
};

const derivatives: Readonly<Record<FeatureMap, (x: number) => number>> = {
  'elu+1': (x) => (x > 0 ? 1 : Math.exp(x)),
  relu: (x) => (x > 0 ? 1 : 0),
  identity: () => 1,
};

/** `phi`, for one number. */
export function featureMapValue(name: FeatureMap): (x: number) => number {
  return values[name];
}

/** `phi'`, for one number. */
export function featureMapDerivative(name: FeatureMap): (x: number) => number {
  return derivatives[name];
}
