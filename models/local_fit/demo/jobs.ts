/** What the page *See it* asks its worker to compute. */
import type { Point } from '../data.js';
import { type Fit, fitAt, FITS, type FitSettings } from '../model.js';

export type Heights = Readonly<Record<Fit, Float32Array>>;

export const jobs = {
  /** All fits at the same places. */
  async fit(points: readonly Point[], places: readonly number[], settings: FitSettings): Promise<Heights> {
    const heights: Partial<Record<Fit, Float32Array>> = {};
    for (const fit of FITS) {
      const out = fitAt(fit, points, places, settings);
      try {
        heights[fit] = await out.data<'float32'>();
      } finally {
        out.dispose();
      }
    }
    return heights as Heights;
  },
};
