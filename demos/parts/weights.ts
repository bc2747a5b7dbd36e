/** Attention weights as shades, and in words. */

/** A background for a weight, relative to the largest; a negative weight, which only softmax has not, in another colour. */
export function shadeOf(weight: number, largest: number): string {
  const share = largest === 0 ? 0 : Math.min(1, Math.abs(weight) / largest);
  return `rgb(from var(${weight < 0 ? '--against' : '--towards'}) r g b / ${(0.65 * share).toFixed(3)})`;
}

/** The places of the largest weights, by their size, whatever their sign. */
export function largestOf(weights: ArrayLike<number>, count: number): number[] {
  const places = Array.from({ length: weights.length }, (_, i) => i);
  return places.sort((a, b) => Math.abs(weights[b]) - Math.abs(weights[a])).slice(0, count);
}
