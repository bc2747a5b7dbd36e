import type { PointsProgram, TexelParam, TexelProgram } from './program.js';

/** What is written to a cache for a hidden key: the lowest float32. A bias of -Infinity is stored as this, too. */
const HIDDEN_BIAS = 'intBitsToFloat(int(0xff7fffffu))';

/** From this bias down a key is hidden: half precision and devices without infinities write the lowest float32. */
const HIDES = '-3.4e38';

/** The score of a key that a row does not see, and that of one which makes it bad. */
const [UNSEEN, SPOILT] = ['-3.0e38', '3.0e38'];

/** What a row comes out as: zeros, numbers, or not a number. */
const [ROW_BLIND, ROW_ORDINARY, ROW_BAD] = ['0.0', '1.0', '2.0'];

/** Uniforms of a part's programs: see `StepPart`. */
export const partParams = {
  t: 'int',
  firstRow: 'int',
  rows: 'int',
  keys: 'int',
  start: 'int',
  capacity: 'int',
} as const satisfies Record<string, TexelParam>;

/** `slotOf(j)`: the row of the cache in which key `j` of a part stands. */
export const SLOT = `
int slotOf(int j) {
  int s = start + j;
  return s < capacity ? s : s - capacity;
}`;

/** `to`, the row of the cache in which the first new row goes; `width`, numbers of a row. */
const appendParams = { t: 'int', firstRow: 'int', rows: 'int', to: 'int', capacity: 'int', width: 'int' } as const;

const PLACE = `
int placeOf(int n) {
  int row = n / width;
  int head = row / rows;
  int s = to + row - head * rows;
  return (head * capacity + (s < capacity ? s : s - capacity)) * width + n - row * width;
}`;

/** Writes rows `firstRow ..` of `source [heads, t, width]` to a cache `[heads, capacity, width]`. */
export const appendProgram: PointsProgram = {
  key: 'append',
  tensors: ['source'],
  params: appendParams,
  text: () => `
${PLACE}
float number(int n) {
  int row = n / width;
  int head = row / rows;
  return sourceAt((head * t + firstRow + row - head * rows) * width + n - row * width);
}`,
};

/** Writes the biases of new keys, or what hides them, to `cachedBias [heads, capacity]`. */
export function appendBiasProgram(hasBias: boolean, hasMask: boolean): PointsProgram {
  return {
    key: `appendBias ${hasBias} ${hasMask}`,
    tensors: [...(hasBias ? ['keyBias'] : []), ...(hasMask ? ['keyMask'] : [])],
    params: { ...appendParams, ...(hasMask && { headsPerBatch: 'int' }) },
    text: () => `
${PLACE}
float number(int n) {
  int head = n / rows;
  int i = firstRow + n - head * rows;
  ${hasMask ? `if (keyMaskAt(head / headsPerBatch * t + i) == 0.0) return ${HIDDEN_BIAS};` : ''}
  ${
    hasBias
      ? `float bias = keyBiasAt(head * t + i);
  return bias <= ${HIDES} ? ${HIDDEN_BIAS} : bias;`
      : 'return 0.0;'
  }
}`,
  };
}

/**
 * `scores [heads, rows, keys / 4]` of a part's rows: unseen keys have the lowest, one that is not finite, or whose value,
 * bias or score is not, the highest.
 */
export function scoresProgram(hasBias: boolean): TexelProgram {
  return {
    key: `stepScores ${hasBias}`,
    buffers: [],
    tensors: ['query', 'cachedKey', 'cachedValue', ...(hasBias ? ['cachedBias'] : [])],
    params: { ...partParams, D: 'int', Dv: 'int', scale: 'float' },
    writes: 'buffer',
    text: () => `
${SLOT}
float scoreOf(int head, int i, int j) {
  int row = head * capacity + slotOf(j);
  float bias = ${hasBias ? 'cachedBiasAt(row)' : '0.0'};
  if (bias <= ${HIDES}) return ${UNSEEN};
  bool good = isFinite(bias);
  float product = 0.0;
  int from = (head * t + firstRow + i) * D;
  for (int d = 0; d < D; d++) {
    float k = cachedKeyAt(row * D + d);
    good = good && isFinite(k);
    product += k * queryAt(from + d);
  }
  for (int d = 0; d < Dv; d++) good = good && isFinite(cachedValueAt(row * Dv + d));
  float score = scale * product + bias;
  return good && isFinite(score) ? clamp(score, -1e38, 1e38) : ${SPOILT};
}
vec4 texel(int at) {
  int quads = (keys + 3) / 4;
  int line = at / quads;
  int head = line / rows;
  int i = line - head * rows;
  int seen = keys - rows + i + 1;
  vec4 scores = vec4(${UNSEEN});
  int first = 4 * (at - line * quads);
  for (int e = 0; e < 4; e++) if (first + e < seen) scores[e] = scoreOf(head, i, first + e);
  return scores;
}`,
  };
}

/** Texels of scores that one texel of the statistics is made of. */
export const STATISTICS_QUADS = 32;

/** `[lines, ranges]`: the largest score of a range of keys and the sum of `exp(score - largest)`. */
export const rangeStatisticsProgram: TexelProgram = {
  key: 'stepRangeStatistics',
  buffers: ['scores'],
  tensors: [],
  params: { quads: 'int', ranges: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int line = at / ranges;
  int first = (at - line * ranges) * ${STATISTICS_QUADS};
  int end = min(first + ${STATISTICS_QUADS}, quads);
  float most = ${UNSEEN};
  for (int q = first; q < end; q++) {
    vec4 s = scoresAt(line * quads + q);
    most = max(most, max(max(s.x, s.y), max(s.z, s.w)));
  }
  float sum = 0.0;
  for (int q = first; q < end; q++) {
    vec4 s = scoresAt(line * quads + q);
    for (int e = 0; e < 4; e++) if (s[e] > ${UNSEEN}) sum += exp(s[e] - most);
  }
  return vec4(most, sum, 0.0, 0.0);
}`,
};

/** `[lines]`: the largest score, one over the sum of the weights, and what the row is; joins ranges exactly. */
export const statisticsProgram: TexelProgram = {
  key: 'stepStatistics',
  buffers: ['parts'],
  tensors: [],
  params: { ranges: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  float most = ${UNSEEN};
  for (int r = 0; r < ranges; r++) most = max(most, partsAt(at * ranges + r).x);
  if (most == ${UNSEEN}) return vec4(0.0, 0.0, ${ROW_BLIND}, 0.0);
  if (most == ${SPOILT}) return vec4(0.0, 0.0, ${ROW_BAD}, 0.0);
  float sum = 0.0;
  for (int r = 0; r < ranges; r++) {
    vec4 part = partsAt(at * ranges + r);
    if (part.x > ${UNSEEN}) sum += part.y * exp(part.x - most);
  }
  return vec4(most, 1.0 / sum, ${ROW_ORDINARY}, 0.0);
}`,
};

/** Softmax weights `[lines, keys / 4]`: zeros for unseen keys and in rows that are not ordinary. */
export const weightsProgram: TexelProgram = {
  key: 'stepWeights',
  buffers: ['scores', 'statistics'],
  tensors: [],
  params: { quads: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  vec4 row = statisticsAt(at / quads);
  vec4 weights = vec4(0.0);
  if (row.z != ${ROW_ORDINARY}) return weights;
  vec4 s = scoresAt(at);
  for (int e = 0; e < 4; e++) if (s[e] > ${UNSEEN}) weights[e] = exp(s[e] - row.x) * row.y;
  return weights;
}`,
};

/** `p_j tau_j = p_j (1 + (k_j - kbar).x)` of every key, from `p_j`. */
export const probedWeightsProgram: TexelProgram = {
  key: 'stepProbedWeights',
  buffers: ['weights', 'kbar', 'probes'],
  tensors: ['cachedKey'],
  params: { ...partParams, D: 'int' },
  writes: 'buffer',
  text: () => `
${SLOT}
vec4 texel(int at) {
  int quads = (keys + 3) / 4;
  int width = (D + 3) / 4;
  int line = at / quads;
  int head = line / rows;
  int first = 4 * (at - line * quads);
  vec4 weights = weightsAt(at);
  for (int e = 0; e < 4; e++) {
    if (weights[e] == 0.0) continue;
    int row = head * capacity + slotOf(first + e);
    float tau = 1.0;
    for (int d = 0; d < D; d++) {
      int at = line * width + d / 4;
      tau += (cachedKeyAt(row * D + d) - kbarAt(at)[d & 3]) * probesAt(at)[d & 3];
    }
    weights[e] *= tau;
  }
  return weights;
}`,
};

/** `[lines, ranges, numbers / 4]`: sums over ranges of keys of `w_j` times rows of a cache `[heads, capacity, numbers]`. */
export const weightedSumsProgram: TexelProgram = {
  key: 'stepWeightedSums',
  buffers: ['weights'],
  tensors: ['source'],
  params: { ...partParams, numbers: 'int', ranges: 'int', perRange: 'int' },
  writes: 'buffer',
  text: () => `
${SLOT}
vec4 texel(int at) {
  int width = (numbers + 3) / 4;
  int quads = (keys + 3) / 4;
  int block = at / width;
  int channel = 4 * (at - block * width);
  int line = block / ranges;
  int head = line / rows;
  int first = (block - line * ranges) * perRange;
  vec4 sum = vec4(0.0);
  for (int j = first; j < min(first + perRange, keys); j++) {
    float weight = weightsAt(line * quads + j / 4)[j & 3];
    // What a weight of zero belongs to may be anything, not a number among them.
    if (weight == 0.0) continue;
    int from = (head * capacity + slotOf(j)) * numbers + channel;
    for (int e = 0; e < 4; e++) if (channel + e < numbers) sum[e] += weight * sourceAt(from + e);
  }
  return sum;
}`,
};

/** `[lines, width]`: the sums of all ranges. */
export const joinRangesProgram: TexelProgram = {
  key: 'stepJoinRanges',
  buffers: ['parts'],
  tensors: [],
  params: { width: 'int', ranges: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int line = at / width;
  int w = at - line * width;
  vec4 sum = vec4(0.0);
  for (int r = 0; r < ranges; r++) sum += partsAt((line * ranges + r) * width + w);
  return sum;
}`,
};

/** `[lines, D / 4]`: `sign` times rows of a tensor `[heads, t, D]`. */
export const stepRowsProgram: TexelProgram = {
  key: 'stepRows',
  buffers: [],
  tensors: ['source'],
  params: { t: 'int', firstRow: 'int', rows: 'int', D: 'int', sign: 'float' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int width = (D + 3) / 4;
  int line = at / width;
  int channel = 4 * (at - line * width);
  int head = line / rows;
  int from = (head * t + firstRow + line - head * rows) * D;
  vec4 x = vec4(0.0);
  for (int e = 0; e < 4; e++) if (channel + e < D) x[e] = sign * sourceAt(from + channel + e);
  return x;
}`,
};

/** Rows of a part in `out [heads, t, Dv]`; a number that is not finite, of a probe, makes its row so. */
export function stepStoreProgram(hasProbe: boolean): TexelProgram {
  return {
    key: `stepStore ${hasProbe}`,
    buffers: ['sums', 'statistics', ...(hasProbe ? ['probes'] : [])],
    tensors: [],
    params: { t: 'int', firstRow: 'int', rows: 'int', Dv: 'int', ...(hasProbe && { D: 'int' as const }) },
    writes: 'tensor',
    text: () => `
float number(int at) {
  int row = at / Dv;
  int d = at - row * Dv;
  int head = row / t;
  int i = row - head * t - firstRow;
  if (i < 0 || i >= rows) discard;
  int line = head * rows + i;
  float state = statisticsAt(line).z;
  if (state == ${ROW_BLIND}) return 0.0;
  if (state == ${ROW_BAD}) return nan;
  ${
    hasProbe
      ? `int width = (D + 3) / 4;
  for (int e = 0; e < 4 * width; e++) if (!isFinite(probesAt(line * width + e / 4)[e & 3])) return nan;`
      : ''
  }
  return sumsAt(line * ((Dv + 3) / 4) + d / 4)[d & 3];
}`,
  };
}
