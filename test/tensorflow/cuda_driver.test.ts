/** What the op library asks of NVIDIA's driver and makes of its answers, with a stand-in for it (test/cuda/driver.cc). */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readInstallation } from '../../src/native/installation.js';

jest.setTimeout(60_000);

const CALL = `
const [ops, name, ...args] = process.argv.slice(1);
try {
  console.log(JSON.stringify({ result: require(ops)[name](...args) }));
} catch (error) {
  console.log(JSON.stringify({ error: error.message }));
}
`;

let folder: string;

/** Calls a function that the op library exports, in a process that finds the stand-in. */
function call(driver: string, name: string, ...args: string[]): { result?: unknown; error?: string } {
  const { ops } = readInstallation();
  if (ops === undefined) throw new Error('the op library is not built');
  const env = { ...process.env, LD_LIBRARY_PATH: join(folder, driver) };
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', CALL, ops, name, ...args], {
    encoding: 'utf8',
    env,
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as { result?: unknown; error?: string };
}

function build(driver: string, ...flags: string[]): void {
  mkdirSync(join(folder, driver));
  const args = ['-shared', '-fPIC', ...flags, 'test/cuda/driver.cc', '-o', join(folder, driver, 'libcuda.so.1')];
  const { status, stderr } = spawnSync(process.env.CXX ?? 'g++', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

function deviceCode(text: string): string {
  const file = join(folder, 'code.bin');
  writeFileSync(file, text);
  return file;
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tfjs-lla-driver-'));
  build('whole');
  build('old', '-DTOO_OLD');
});

afterAll(() => rmSync(folder, { recursive: true }));

test('the GPU is described', () => {
  expect(call('whole', 'cudaDevice')).toEqual({ result: { name: 'Stand-in GPU', major: 8, minor: 6, driver: 12040 } });
});

/** The entry points of kernels of some names. */
function byDimension(...names: string[]): string {
  return names.flatMap((name) => ['32', '64', '128', '256'].map((dim) => `tfjs_lla_${name}_${dim}`)).join(' ');
}

/** What device code would have to have for kernels of an operator, and those that they come after. */
function entryPoints(operator: string, ...kernels: string[]): string {
  const own = kernels.flatMap((kernel) => [`${operator}_${kernel}_high`, `${operator}_${kernel}_fast`]);
  return byDimension('summarize_range', 'summarize_head', 'make_tiles', ...own);
}

/** The same for steps of caches and calls with few queries, with a probe or without. */
function stepEntryPoints(probe: 'softmax' | 'probe'): string {
  const attending = ['row', 'rows', 'many', 'join'].map((kernel) => `step_${probe}_${kernel}`);
  return `tfjs_lla_step_append tfjs_lla_step_gather ${byDimension(...attending)}`;
}

test('device code serves the operations of which it has all kernels', () => {
  const softmax = `${entryPoints('softmax', 'forward')} ${stepEntryPoints('softmax')}`;
  const ofSoftmax = ['SoftmaxAttention', 'SoftmaxAttentionStep'];
  expect(call('whole', 'loadDeviceCode', deviceCode(softmax))).toEqual({ result: ofSoftmax });
  const withoutOne = softmax.replace('tfjs_lla_softmax_forward_fast_128', '');
  expect(call('whole', 'loadDeviceCode', deviceCode(withoutOne))).toEqual({ result: [] });
  const solving = `${stepEntryPoints('probe')} ${byDimension('local_linear_statistics', 'local_linear_solve')}`;
  const kernels = ['forward', 'gradient_rows', 'gradient_keys'];
  const direct = byDimension(
    'find_variance',
    'find_smallest_ridge',
    ...kernels.map((name) => `local_linear_direct_${name}`),
  );
  const localLinear = `${entryPoints('local_linear', ...kernels)} ${direct}`;
  const operations = ['LocalLinearAttention', 'LocalLinearAttentionGrad', 'LocalLinearAttentionStep', ...ofSoftmax];
  const all = `${softmax} ${localLinear} ${solving}`;
  expect(call('whole', 'loadDeviceCode', deviceCode(all))).toEqual({ result: operations });
  const sums = 'tfjs_lla_state_step_rows tfjs_lla_state_step_sums';
  expect(call('whole', 'loadDeviceCode', deviceCode(sums))).toEqual({ result: ['LinearAttentionStep'] });
  const mesa = deviceCode(`${sums} tfjs_lla_mesa_step_solve`);
  expect(call('whole', 'loadDeviceCode', mesa)).toEqual({ result: ['LinearAttentionStep', 'MesaAttentionStep'] });
  expect(call('whole', 'loadDeviceCode')).toEqual({ result: [] });
});

test('linear and mesa attention share kernels', () => {
  const shared = ['high', 'fast'].flatMap((precision) => [
    `sum_chunks_${precision}`,
    ...['64', '128', '256'].map((columns) => `multiply_chunks_${precision}_${columns}`),
  ]);
  const solver = ['prepare_ridge', 'prepare_rows', 'factor', 'solve', 'sum_ridge_gradient'].map(
    (name) => `mesa_${name}`,
  );
  const code = (names: string[]) => deviceCode(names.map((name) => `tfjs_lla_${name}`).join(' '));
  const linear = ['prepare_chunks', 'scan_chunks', ...shared];
  expect(call('whole', 'loadDeviceCode', code(linear))).toEqual({ result: ['LinearAttention', 'LinearAttentionGrad'] });
  expect(call('whole', 'loadDeviceCode', code([...linear, ...solver]))).toEqual({
    result: ['LinearAttention', 'LinearAttentionGrad', 'MesaAttention', 'MesaAttentionGrad'],
  });
});

test('without a kernel there are no times', () => {
  expect(call('whole', 'takeKernelTimes')).toEqual({ result: [] });
});

test('a refusal of the driver is an error with its reason', () => {
  const code = deviceCode(`for another GPU: ${entryPoints('softmax', 'forward')}`);
  expect(call('whole', 'loadDeviceCode', code).error).toBe(
    `the device code in ${code} cannot be loaded: CUDA_ERROR_NO_BINARY_FOR_GPU, no kernel image is available`,
  );
});

test('a file that is not there is named', () => {
  expect(call('whole', 'loadDeviceCode', join(folder, 'none.bin')).error).toBe(
    `the device code ${join(folder, 'none.bin')} cannot be read`,
  );
});

test('a driver without a function that is needed is refused', () => {
  expect(call('old', 'cudaDevice').error).toBe('the NVIDIA driver has no cuLaunchKernel');
});
