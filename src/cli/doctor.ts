import { env, grads, tensor3d, version_core, type Tensor } from '@tensorflow/tfjs-core';
import { forward, gradient } from '../../kernels/local_linear_attention/reference.js';
import { localLinearAttention } from '../index.js';
import { backendNames, initBackend, type BackendName } from '../node.js';
import type { Comparison } from './compare.js';
import { numbers, relativeError } from './numbers.js';
import { formatTable } from './table.js';

/** What was found out about one backend. */
export interface BackendFinding {
  readonly backend: BackendName;
  readonly works: boolean;
  readonly adapter: string | null;
  /** Largest relative L2 error among the output and the gradients, against the float64 reference. */
  readonly error: number | null;
  /** Time for the forward pass and all gradients of the examined problem. */
  readonly milliseconds: number | null;
  /** What to do if it does not work. */
  readonly advice: string | null;
}

export interface Findings {
  readonly node: string;
  readonly platform: string;
  readonly tfjs: string;
  readonly backends: readonly BackendFinding[];
  /** Every operator against the same on `cpu`, where it was asked for. */
  readonly operators?: readonly Comparison[];
}

/** float32 on a well-conditioned problem stays two orders of magnitude below this; a wrong kernel far above. */
const LARGEST_ERROR = 5e-4;

const DIMS = { batch: 2, heads: 2, Tq: 12, Tk: 12, D: 4, Dv: 3 };
const KEY_SHAPE: [number, number, number] = [DIMS.heads, DIMS.Tk, DIMS.D];
const VALUE_SHAPE: [number, number, number] = [DIMS.heads, DIMS.Tk, DIMS.Dv];

const PROBLEM = {
  dims: DIMS,
  query: numbers(DIMS.heads * DIMS.Tq * DIMS.D, 1),
  key: numbers(DIMS.heads * DIMS.Tk * DIMS.D, 2),
  value: numbers(DIMS.heads * DIMS.Tk * DIMS.Dv, 3),
  ridge: new Float32Array(DIMS.heads * DIMS.Tq).fill(1),
  scale: 1 / Math.sqrt(DIMS.D),
  causal: true,
};
const DOUT = numbers(DIMS.heads * DIMS.Tq * DIMS.Dv, 4);

/** Tries backends on a small problem; one that fails does not keep the others from being tried. */
export async function examine(names: readonly BackendName[] = backendNames): Promise<Findings> {
  // Keeps tfjs' advertisement for tfjs-node out of the report.
  env().set('PROD', true);
  const backends: BackendFinding[] = [];
  for (const backend of names) backends.push(await examineBackend(backend));
  return {
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    tfjs: version_core,
    backends,
  };
}

async function examineBackend(backend: BackendName): Promise<BackendFinding> {
  let adapter: string | null = null;
  try {
    ({ adapter } = await initBackend(backend));
    const start = performance.now();
    const computed = await compute();
    const milliseconds = performance.now() - start;
    const error = largestError(computed);
    const works = error <= LARGEST_ERROR;
    const advice = works ? null : 'wrong numbers: please report it with this output, and use another backend';
    return { backend, works, adapter, error, milliseconds, advice };
  } catch (failure) {
    const message = failure instanceof Error ? failure.message : String(failure);
    // One line, so that it fits a cell of the table.
    const advice = message.replace(/\s+/g, ' ');
    return { backend, works: false, adapter, error: null, milliseconds: null, advice };
  }
}

/** Output, `dquery`, `dkey` and `dvalue` on the current backend. */
async function compute(): Promise<ArrayLike<number>[]> {
  const attention = (query: Tensor, key: Tensor, value: Tensor) =>
    localLinearAttention(query, key, value, { causal: true });
  const inputs = [
    tensor3d(PROBLEM.query, KEY_SHAPE),
    tensor3d(PROBLEM.key, KEY_SHAPE),
    tensor3d(PROBLEM.value, VALUE_SHAPE),
  ] as const;
  const dout = tensor3d(DOUT, VALUE_SHAPE);
  const results = [attention(...inputs), ...grads(attention)([...inputs], dout)];
  const values = await Promise.all(results.map((result) => result.data()));
  for (const tensor of [...inputs, dout, ...results]) tensor.dispose();
  return values;
}

function largestError(computed: readonly ArrayLike<number>[]): number {
  const { dquery, dkey, dvalue } = gradient(PROBLEM, Float64Array.from(DOUT));
  const expected = [forward(PROBLEM).out, dquery, dkey, dvalue];
  // A NaN must not get lost: Math.max hands it on.
  return Math.max(...expected.map((values, i) => relativeError(computed[i], values)));
}

/** The findings as text for a terminal. */
export function report({ node, platform, tfjs, backends, operators }: Findings): string {
  const rows = backends.map(({ backend, works, adapter, error, milliseconds, advice }) => [
    backend,
    works ? 'yes' : 'no',
    adapter ?? '-',
    error?.toExponential(1) ?? '-',
    milliseconds === null ? '-' : `${milliseconds.toFixed(0)} ms`,
    advice ?? '-',
  ]);
  const working = backends.filter(({ works }) => works).length;
  const compared = operators?.map(({ operator, error, agrees }) => [
    operator,
    agrees ? 'yes' : 'no',
    error.toExponential(1),
  ]);
  const comparison =
    compared === undefined ? [] : ['', formatTable([['operator', 'agrees with cpu', 'error'], ...compared])];
  return [
    `Node ${node}, ${platform}, TensorFlow.js ${tfjs}`,
    '',
    formatTable([['backend', 'works', 'adapter', 'error', 'time', 'what to do'], ...rows]),
    '',
    `${working} of ${backends.length} backends work here.`,
    ...comparison,
  ].join('\n');
}
