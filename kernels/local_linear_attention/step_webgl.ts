import type { TensorInfo } from '@tensorflow/tfjs-core';

import { quads } from '../common/webgl/texels/sweep.js';
import { eliminate, mostSystems, systemsBuffer } from '../common/webgl/texels/elimination.js';
import { type CacheStep, keyRanges, type PartOnDevice, runStep } from '../common/webgl/texels/step.js';
import type { TexelBuffer } from '../common/webgl/texels/call.js';
import type { KernelCall } from '../common/kernel_call.js';
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
  const ridges = call.buffer('ridges', lines);
  call.run(
    stepRidgesProgram(isTensor),
    isTensor ? { ridge: call.input('ridge') } : {},
    { t, firstRow, rows, ridge: call.attrs.ridge },
    { to: ridges },
  );
  const query = step.rows('query', on, 1);
  const to = call.buffer('probes', lines * width);
  const mostKeys = Math.min(part.keys, Math.floor(CENTRED_TEXELS / width));
  const perDraw = Math.max(1, Math.floor(MOST_PRODUCTS / (mostKeys * 16 * width * width)));
  const perCentred = Math.max(1, Math.floor(CENTRED_TEXELS / (mostKeys * width)));
  const most = Math.min(lines, perDraw, perCentred, mostSystems(width, width + 1));
  for (let from = 0; from < lines; from += most) {
    const n = Math.min(most, lines - from);
    const texels = n * 4 * width * width;
    const { ranges, perRange } = keyRanges(mostKeys, texels);
    let parts: TexelBuffer | undefined;
    for (let firstKey = 0; firstKey < part.keys; firstKey += mostKeys) {
      const count = Math.min(mostKeys, part.keys - firstKey);
      const centred = call.buffer('centred', n * count * width);
      const sources = { weights, kbar, cachedKey };
      call.run(centredKeysProgram, sources, { ...part, D, from, firstKey, count }, { to: centred });
      const isOdd = (firstKey / mostKeys) % 2 === 1;
      const sums = call.buffer(isOdd ? 'covariance odd' : 'covariance even', texels * ranges);
      call.run(
        covarianceProgram(parts !== undefined),
        { centred, ...(parts && { previous: parts }) },
        { count, width, ranges, perRange },
        { to: sums },
      );
      parts = sums;
    }
    if (!parts) continue;
    const buffer = systemsBuffer(call, n * 4 * width * (width + 1));
    call.run(covarianceSystemsProgram, { parts, query, kbar, ridges }, { D, from, ranges }, { to: buffer });
    const least = { buffer: ridges, perLeast: 1, stride: 1 };
    const solutions = eliminate(call, { buffer, n, left: width, width: width + 1, from }, least);
    call.run(stepProbesProgram, { solutions, ridges }, { D, from }, { to, first: from * width, count: n * width });
  }
  return to;
}

/** `out [..., t, Dv]` of new rows against a cache, to which they are appended. */
export function localLinearAttentionStepWebGl(kernelCall: KernelCall): TensorInfo[] {
  return runStep(localLinearAttentionSpec, kernelCall, probes);
}
