import type { TensorInfo } from '@tensorflow/tfjs-core';

import { quads } from '../common/webgl/texels/sweep.js';
import { eliminate, mostSystems, systemsBuffer } from '../common/webgl/texels/elimination.js';
import { type CacheStep, keyRanges, type PartOnDevice, runStep } from '../common/webgl/texels/step.js';
import type { KernelCall, TexelBuffer } from '../common/webgl/texels/call.js';
import { type LocalLinearAttentionAttrs, localLinearAttentionSpec } from './spec.js';
import {
  centredKeysProgram,
  covarianceProgram,
  covarianceSystemsProgram,
  stepProbesProgram,
  stepRidgesProgram,
} from './step_systems.glsl.js';

/** Multiply-adds of a draw call: half of what is safe. */
const MOST_PRODUCTS = 1e9;

/** Texels of centred keys that are held at once: 8 MiB, or those of one row. */
const CENTRED_TEXELS = 2 ** 19;

/**
 * `x = (C + ridge I)^-1 (q - kbar)` of a part's rows, `[lines, D / 4]`: the covariance in one pass over the keys, in ranges
 * that merge exactly, and its system solved directly, whichever solver was asked for: no iteration is more accurate.
 */
function probes(step: CacheStep<LocalLinearAttentionAttrs>, on: PartOnDevice, kbar: TexelBuffer): TexelBuffer {
  const { call } = step;
  const { D } = call.dims;
  const { part, lines, cachedKey, weights } = on;
  const { t, firstRow, rows } = part;
  const width = quads(D);
  const isTensor = call.has('ridge');
  const ridges = step.buffer('ridges', lines);
  call.run(
    stepRidgesProgram(isTensor),
    isTensor ? { ridge: call.input('ridge') } : {},
    { t, firstRow, rows, ridge: call.attrs.ridge },
    { to: ridges },
  );
  const query = step.rows('query', on, 1);
  const to = step.buffer('probes', lines * width);
  const perDraw = Math.max(1, Math.floor(MOST_PRODUCTS / (part.keys * 16 * width * width)));
  const perCentred = Math.max(1, Math.floor(CENTRED_TEXELS / (part.keys * width)));
  const most = Math.min(lines, perDraw, perCentred, mostSystems(width, width + 1));
  for (let from = 0; from < lines; from += most) {
    const n = Math.min(most, lines - from);
    const texels = n * 4 * width * width;
    const { ranges, perRange } = keyRanges(part.keys, texels);
    const parts = step.buffer('covariance', texels * ranges);
    const centred = step.buffer('centred', n * part.keys * width);
    call.run(centredKeysProgram, { weights, kbar, cachedKey }, { ...part, D, from }, { to: centred });
    call.run(covarianceProgram, { centred }, { keys: part.keys, width, ranges, perRange }, { to: parts });
    const buffer = systemsBuffer(step, n * 4 * width * (width + 1));
    call.run(covarianceSystemsProgram, { parts, query, kbar, ridges }, { D, from, ranges }, { to: buffer });
    const least = { buffer: ridges, perLeast: 1, stride: 1 };
    const solutions = eliminate(step, { buffer, n, left: width, width: width + 1, from }, least);
    call.run(stepProbesProgram, { solutions, ridges }, { D, from }, { to, first: from * width, count: n * width });
  }
  return to;
}

/** `out [..., t, Dv]` of new rows against a cache, to which they are appended. */
export function localLinearAttentionStepWebGl(kernelCall: KernelCall): TensorInfo[] {
  return runStep(localLinearAttentionSpec, kernelCall, probes);
}
