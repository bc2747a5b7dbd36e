import type { NamedTensorMap, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

import { gradientKernelName, runKernel } from '../../src/gradients.js';
import { type ArrayError, countBad, errorsOf } from './accuracy.js';
import { type BenchCase, caseName, usefulOperations } from './cases.js';
import { callTensors, type DataName } from './data.js';
import type { BenchDevice, FirstCall, Iterations } from './device.js';
import { type Body, timeInTurn, timeWall, type Timing, timingOf, warmUp } from './measure.js';
import { argumentNames, benchOperators, optionsOf, preparedCall, runComposed, specOf } from './operators.js';

/** The same made of tfjs operators. */
export interface ComposedRow {
  readonly kernel: Timing | null;
  readonly wall: Timing;
  readonly error: ArrayError;
  readonly problems: readonly string[];
  /** Its time over the own kernel's: device times where both have them, else wall times. Null where its result is wrong. */
  readonly speedUp: number | null;
}

/** What a case showed. */
export interface Row {
  readonly name: string;
  readonly case: BenchCase;
  readonly errors: readonly ArrayError[];
  readonly iterations: Iterations | null;
  /** The sum of the passes of one call on the device: of the gradient alone where the case is one. */
  readonly kernel: Timing | null;
  readonly passes: Readonly<Record<string, number>>;
  /** One call of the public function among others; a gradient's contains its forward. */
  readonly wall: Timing;
  /** All passes of such a call. */
  readonly kernelsOfWall: number | null;
  /** Useful arithmetic over kernel time; where there is none, over wall time. */
  readonly teraflops: number | null;
  readonly firstCall: FirstCall | null;
  readonly composed: ComposedRow | null;
  /** What is wrong with the result: a case with problems has no figures to speak of. */
  readonly problems: readonly string[];
}

/** What is run for a case. */
interface Runnable {
  readonly inputs: NamedTensorMap;
  /** Names of the arrays that `call` returns. */
  readonly names: readonly string[];
  /** The public function, or its gradient. */
  readonly call: Body;
  /** The kernel alone, once `call` has run. */
  readonly kernel: () => Body;
  dispose(): void;
}

function runnable(one: BenchCase): Runnable {
  const { operator, direction, heads, queries, ridge } = one;
  const names = argumentNames(one);
  const isGradient = direction === 'gradient';
  const dataNames = names.filter((name) => name !== 'ridge') as DataName[];
  const inputs: NamedTensorMap = {
    ...callTensors(one, isGradient ? [...dataNames, 'dout'] : dataNames),
    ...(one.hasRidgeTensor && ridge !== undefined && { ridge: tf.fill([heads, queries], ridge) }),
  };
  const toCall = (tensors: NamedTensorMap): Tensor => {
    const { ridge: ridges, ...rest } = tensors;
    return benchOperators[operator].run(rest, {
      ...optionsOf(one),
      ...((ridges as Tensor | undefined) && { ridge: ridges }),
    });
  };
  if (!isGradient) {
    const call = () => toCall(inputs);
    return { inputs, names: ['out'], call, kernel: () => call, dispose: () => tf.dispose(inputs) };
  }
  const gradients = tf.grads((...tensors: Tensor[]) =>
    toCall(Object.fromEntries(names.map((name, i) => [name, tensors[i]]))),
  );
  const args = names.map((name) => inputs[name]);
  const spec = specOf(operator);
  let forward: Tensor[] = [];
  return {
    inputs,
    names: names.map((name) => `d${name}`),
    call: () => gradients(args, inputs.dout),
    kernel() {
      const prepared = preparedCall(one, inputs);
      forward = runKernel(spec.kernelName, prepared.inputs, prepared.attrs);
      const residuals = Object.fromEntries(forward.slice(1).map((residual, i) => [spec.residuals[i], residual]));
      const all = { ...prepared.inputs, ...residuals, dout: inputs.dout };
      return () => runKernel(gradientKernelName(spec), all, prepared.attrs);
    },
    dispose: () => tf.dispose([inputs, ...forward]),
  };
}

/** Leaves buffers full of NaN behind, which the next results of these shapes are written to. */
async function poison(shapes: readonly number[][]): Promise<void> {
  const tensors = shapes.map((shape) => tf.fill(shape, NaN));
  for (const tensor of tensors) await tensor.data();
  tf.dispose(tensors);
}

/** Reads the arrays of one call that found NaN in the memory that it writes to. */
async function readResult(call: Body, names: readonly string[]): Promise<Record<string, Float32Array>> {
  const shapes = tf.tidy(() => [call()].flat().map(({ shape }) => shape));
  await poison(shapes);
  const tensors = [tf.tidy(call)].flat();
  const arrays: Record<string, Float32Array> = {};
  for (const [i, tensor] of tensors.entries()) arrays[names[i]] = (await tensor.data()) as Float32Array;
  tf.dispose(tensors);
  return arrays;
}

/** At least so many runs are timed, and as many more as fit into the time. */
const FEWEST_RUNS = 10;
const TIMED_MILLISECONDS = 100;

const runsFor = (perCall: number): number =>
  Math.max(perCall > 500 ? 3 : FEWEST_RUNS, Math.min(30, Math.ceil(TIMED_MILLISECONDS / perCall)));

/** Device times of a call and its passes, and the wall time that one took while the device got warm, where it has to. */
async function kernelTiming(device: BenchDevice, body: Body) {
  const perCall = device.isQueued ? await warmUp(body) : null;
  const times = perCall === null ? null : await device.kernelTimes?.(body, runsFor(perCall), perCall);
  return times
    ? { kernel: timingOf(times.totals), passes: times.passes, perCall }
    : { kernel: null, passes: {}, perCall };
}

/** What a case's kernels take, and whether its result is right. */
export type KernelRow = Pick<Row, 'errors' | 'kernel' | 'passes' | 'problems'>;

/** The kernels of a case and its errors alone: what choosing a setting asks for. */
export async function measureKernels(one: BenchCase, device: BenchDevice): Promise<KernelRow> {
  await device.prepare(one);
  const run = runnable(one);
  try {
    const { errors, problems } = await checked(one, run);
    const { kernel, passes } = await kernelTiming(device, run.kernel());
    return { errors, kernel, passes, problems: [...problems, ...device.takeErrors()] };
  } finally {
    run.dispose();
  }
}

/** Makes a case's call once, within `around`, without a look at what it computes. */
export async function callOnce(one: BenchCase, device: BenchDevice, around: (body: () => void) => void): Promise<void> {
  await device.prepare(one);
  const run = runnable(one);
  around(() => tf.dispose(tf.tidy(run.call)));
  run.dispose();
}

/** Errors of the arrays of a call, and numbers that are none. */
async function checked(one: BenchCase, run: Runnable): Promise<Pick<Row, 'errors' | 'problems'>> {
  const arrays = await readResult(run.call, run.names);
  const problems = Object.entries(arrays).flatMap(([name, array]) => {
    const bad = countBad(array);
    return bad > 0 ? [`${bad} of ${array.length} numbers of ${name} are NaN or infinite`] : [];
  });
  return { errors: errorsOf(one, arrays), problems };
}

/** Wall time of a call on a device that has just been busy with it; elsewhere of single calls. */
async function wallTiming(body: Body, perCall: number | null): Promise<Timing> {
  if (perCall !== null) return timeWall(body, perCall);
  const [timing] = await timeInTurn([body]);
  return timing;
}

/** Calls one after another take no less than their kernels, but for a little overlap, unless the clock rose between both timings. */
const LEAST_WALL = 0.9;
const ATTEMPTS = 3;

/** Times of a case's kernels, of those of its call (a gradient's has the forward in it), and of the call. */
async function timesOf(one: BenchCase, device: BenchDevice, kernelBody: Body, call: Body) {
  for (let attempt = 1; ; attempt++) {
    const ofKernel = await kernelTiming(device, kernelBody);
    const ofCall = one.direction === 'forward' ? ofKernel : await kernelTiming(device, call);
    const wall = await wallTiming(call, ofCall.perCall);
    const kernelsOfWall = ofCall.kernel?.median ?? null;
    const isSteady = kernelsOfWall === null || wall.minimum >= LEAST_WALL * kernelsOfWall;
    if (isSteady || attempt === ATTEMPTS) return { ...ofKernel, wall, kernelsOfWall };
  }
}

/** An error beyond which the composed operator is wrong rather than coarse: its iterations are few. */
const MOST_COMPOSED_ERROR = 0.05;

async function compose(
  one: BenchCase,
  device: BenchDevice,
  run: Runnable,
  own: Pick<Row, 'kernel' | 'wall'>,
): Promise<ComposedRow> {
  const body = (): Tensor => runComposed(one, run.inputs);
  const [error] = errorsOf(one, await readResult(body, ['out']));
  const { kernel, perCall } = await kernelTiming(device, body);
  // Single calls are timed in turn with the own kernel's, so that both have the same share of a busy machine.
  const [ownWall, wall] =
    perCall === null ? await timeInTurn([run.call, body]) : [own.wall, await timeWall(body, perCall)];
  const problems = device.takeErrors();
  const isRight = problems.length === 0 && error.relative < MOST_COMPOSED_ERROR;
  const [ours, theirs] = kernel !== null && own.kernel !== null ? [own.kernel, kernel] : [ownWall, wall];
  return { kernel, wall, error, problems, speedUp: isRight ? theirs.median / ours.median : null };
}

/** Measures a case. */
export async function runCase(one: BenchCase, device: BenchDevice): Promise<Row> {
  await device.prepare(one);
  const run = runnable(one);
  try {
    const firstCall = one.isFresh ? await device.firstCall(Object.values(run.inputs), run.call) : null;
    const { errors, problems } = await checked(one, run);
    const kernelBody = run.kernel();
    const iterations = await device.iterations(one, kernelBody);
    const { kernel, passes, wall, kernelsOfWall } = await timesOf(one, device, kernelBody, run.call);
    const errorsSoFar = device.takeErrors();
    const composed = one.isCompared ? await compose(one, device, run, { kernel, wall }) : null;
    const operations = usefulOperations(one, iterations?.tileMean ?? iterations?.mean ?? null);
    // A gradient's wall time has the forward in it.
    const timed = kernel ?? (one.direction === 'forward' ? wall : null);
    return {
      name: caseName(one),
      case: one,
      errors,
      iterations,
      kernel,
      passes,
      wall,
      kernelsOfWall,
      teraflops: operations === null || timed === null ? null : operations / timed.median / 1e9,
      firstCall,
      composed,
      problems: [...problems, ...errorsSoFar, ...device.takeErrors()],
    };
  } finally {
    run.dispose();
  }
}
