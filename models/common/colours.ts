/** The colour that an attention has in every picture. */
import type { Attention } from '../trainer/experiment.js';

export const COLOURS: Readonly<Record<Attention, string>> = {
  localLinear: '#c0262d',
  softmax: '#3b6fb6',
  linear: '#6b9e3f',
  mesa: '#e08a1e',
  parallax: '#7d4fa8',
};
