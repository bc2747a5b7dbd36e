/** Tokens are drawn from the distribution that temperature, topK and topP leave. */
import * as tf from '@tensorflow/tfjs-core';
import { pickTokens, type Sampling } from '../../src/layers/generation/sampling.js';
import { backends, useBackend } from '../backends.js';

/** Logits, in no order; the largest is 2. */
const LOGITS = [0.5, -1, 2, 1.5, -Infinity, 0, 1];
const DRAWS = 20_000;

/** The distribution that is left, by the definitions of Hugging Face's generation. */
function distribution({ temperature, topK = LOGITS.length, topP = 1 }: Sampling): number[] {
  const ranked = LOGITS.map((logit, id) => ({ id, weight: Math.exp((logit - 2) / temperature) })).sort(
    (a, b) => b.weight - a.weight,
  );
  const largest = ranked.slice(0, topK);
  const total = largest.reduce((sum, { weight }) => sum + weight, 0);
  let before = 0;
  const nucleus = largest.filter(({ weight }) => {
    const kept = before < topP;
    before += weight / total;
    return kept;
  });
  const left = nucleus.reduce((sum, { weight }) => sum + weight, 0);
  const probabilities = LOGITS.map(() => 0);
  for (const { id, weight } of nucleus) probabilities[id] = weight / left;
  return probabilities;
}

/** How often each token is taken for draws that cover (0, 1] evenly. */
async function shares(sampling: Sampling): Promise<number[]> {
  const ids = tf.tidy(() => {
    const logits = tf.tile(tf.tensor2d([LOGITS]), [DRAWS, 1]);
    const draws = tf.tensor1d(Array.from({ length: DRAWS }, (_, i) => (i + 1) / DRAWS));
    return pickTokens(logits, sampling, draws);
  });
  expect([ids.dtype, ids.shape]).toEqual(['int32', [DRAWS]]);
  const counts = LOGITS.map(() => 0);
  for (const id of await ids.data()) counts[id]++;
  ids.dispose();
  return counts.map((count) => count / DRAWS);
}

describe.each(backends)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each<Sampling>([
    { temperature: 1 },
    { temperature: 0.3 },
    { temperature: 5 },
    { temperature: 1, topK: 1 },
    { temperature: 1, topK: 3 },
    { temperature: 2, topK: 100 },
    { temperature: 1, topP: 0.01 },
    { temperature: 1, topP: 0.5 },
    { temperature: 1, topP: 0.9 },
    { temperature: 2, topK: 4, topP: 0.7 },
    { temperature: 1e-4 },
  ])('%j', async (sampling) => {
    const { numTensors } = tf.memory();
    const expected = distribution(sampling);
    const actual = await shares(sampling);
    actual.forEach((share, id) => expect(Math.abs(share - expected[id])).toBeLessThan(3 / DRAWS));
    // What is left out is never taken, not even once.
    expect(actual.filter((_, id) => expected[id] === 0)).toEqual(expected.filter((share) => share === 0));
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  test('each row has its own draw and its own logits', async () => {
    const rows = [
      [0, 5, 0],
      [0, 0, 5],
      [Math.log(0.2), Math.log(0.3), Math.log(0.5)],
      [Math.log(0.5), Math.log(0.3), Math.log(0.2)],
    ];
    const logits = tf.tensor2d(rows);
    const draws = tf.tensor1d([0.5, 0.5, 0.45, 0.95]);
    expect(Array.from(await pickTokens(logits, { temperature: 1 }, draws).data())).toEqual([1, 2, 1, 2]);
    // By rank: the likeliest first.
    expect(Array.from(await pickTokens(logits, { temperature: 1, topK: 3 }, draws).data())).toEqual([1, 2, 2, 2]);
    expect(Array.from(await pickTokens(logits, { temperature: 1, topP: 0.4 }, draws).data())).toEqual([1, 2, 2, 0]);
    expect(Array.from(await pickTokens(logits, { temperature: 0 }, draws).data())).toEqual([1, 2, 2, 0]);
  });

  test.each([0, 1])('what has no distribution is -1, and nothing else, temperature %d', async (temperature) => {
    const none = -Infinity;
    const logits = tf.tensor2d([
      [1, NaN, 0],
      [1, Infinity, 0],
      [none, none, none],
      [none, 0, none],
    ]);
    const draws = tf.tensor1d([0.5, 0.5, 0.5, 1]);
    for (const topK of [undefined, 2]) {
      expect(Array.from(await pickTokens(logits, { temperature, topK }, draws).data())).toEqual([-1, -1, -1, 1]);
    }
  });
});
