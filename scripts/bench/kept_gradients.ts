import type { BenchCase } from './cases.js';
import { correlationName } from './cases.js';
import { headData } from './data.js';
import kept from './kept_gradients.json' with { type: 'json' };
import { keyGradients, sampledKeys } from './references.js';
import { solverGradients } from './solver_gradients.js';

/** Gradients of keys and values of the first head: `sampledKeys` rows of each. */
export interface KeptGradients {
  readonly dkey: Float32Array;
  readonly dvalue: Float32Array;
}

/** As a file keeps them: float32 in base64, and what tells that they belong to the same numbers. */
interface KeptEntry {
  readonly fingerprint: number;
  readonly dkey: string;
  readonly dvalue: string;
}

/** Where computing them takes no time worth keeping them. */
const LIVE_LENGTH = 512;

/** What the gradients depend on. */
export const keptName = ({ operator, causal, queries, keys, dim, ridge, correlation }: BenchCase): string =>
  [operator, causal ? 'causal' : 'full', queries, keys, dim, ridge ?? '', ...correlationName(correlation)]
    .join(' ')
    .trim();

/** A number that other data would hardly have. */
function fingerprintOf(one: BenchCase): number {
  const sum = headData(one, 'key', 0).reduce((a, x, i) => a + x * ((i % 7) + 1), 0);
  return Number(sum.toFixed(6));
}

const encode = (numbers: Float32Array): string => Buffer.from(numbers.buffer).toString('base64');

const decode = (text: string): Float32Array =>
  new Float32Array(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);

function sampled(one: BenchCase): KeptGradients {
  const all = keyGradients(one);
  const pick = (array: Float64Array): Float32Array =>
    Float32Array.from(sampledKeys(one.keys).flatMap((key) => [...array.subarray(key * one.dim, (key + 1) * one.dim)]));
  return { dkey: pick(all.dkey), dvalue: pick(all.dvalue) };
}

/** Computes the entries of cases that differ in their ridge only, in float64: up to minutes. */
export function keep(cases: readonly BenchCase[]): Record<string, KeptEntry> {
  const [one] = cases;
  const ridges = cases.map(({ ridge = 1 }) => ridge);
  const hasSolver = one.operator === 'localLinearAttention' || one.operator === 'mesaAttention';
  const results = hasSolver ? solverGradients(one, ridges, sampledKeys(one.keys)) : cases.map(sampled);
  const fingerprint = fingerprintOf(one);
  return Object.fromEntries(
    results.map(({ dkey, dvalue }, i) => [
      keptName(cases[i]),
      { fingerprint, dkey: encode(Float32Array.from(dkey)), dvalue: encode(Float32Array.from(dvalue)) },
    ]),
  );
}

/** The float64 gradients of a case's `sampledKeys`; undefined where they are not kept and would take too long. */
export function keptGradients(one: BenchCase): KeptGradients | undefined {
  const entry = (kept as Readonly<Record<string, KeptEntry | undefined>>)[keptName(one)];
  if (entry === undefined) return one.keys <= LIVE_LENGTH ? sampled(one) : undefined;
  if (entry.fingerprint !== fingerprintOf(one)) {
    throw new Error(`kept_gradients.json belongs to other data (${keptName(one)}); run: npm run bench:references`);
  }
  return { dkey: decode(entry.dkey), dvalue: decode(entry.dvalue) };
}
