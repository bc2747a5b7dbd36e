/** The kernels on a device with nothing beyond WebGPU's default limits, and what exceeds a limit. */
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { pipelineOf } from '../../kernels/common/webgpu/pipelines.js';
import type { Shader } from '../../kernels/common/webgpu/shader.js';
import { localLinearAttention, mesaAttention, softmaxAttention } from '../../src/index.js';
import { initBackend } from '../../src/node.js';
import { casesOf, operators } from '../cases.js';
import { checkCase } from '../check_case.js';

const NAME = 'webgpu';

/** Workgroup memory and invocations of any device, and a little less than others may have. */
const DEFAULT_LIMITS = {
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxStorageBuffersPerShaderStage: 8,
  maxStorageBufferBindingSize: 134217728,
};

let device: GPUDevice;

beforeAll(async () => {
  // Sets up `navigator.gpu` and registers the kernels.
  await initBackend(NAME);
  tf.removeBackend(NAME);
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) throw new Error('no adapter');
  device = await adapter.requestDevice();
  tf.registerBackend(NAME, () => new WebGPUBackend(device, adapter.info));
  await tf.setBackend(NAME);
});

afterAll(() => {
  tf.removeBackend(NAME);
});

test('the device has the default limits', () => {
  const { limits } = device;
  const names = Object.keys(DEFAULT_LIMITS) as (keyof typeof DEFAULT_LIMITS)[];
  expect(Object.fromEntries(names.map((name) => [name, limits[name]]))).toEqual(DEFAULT_LIMITS);
});

describe.each(operators)('%s', (operator) => {
  // Tiles of all sizes are the same code: a case with several tiles of keys, and one whose vectors take several chunks.
  const wanted = ['111x111', '33x111'];
  const cases = casesOf(operator, 'optionPairs');
  const chosen = wanted.flatMap((size) => cases.filter(([name]) => name.startsWith(`size ${size},`)).slice(0, 1));

  test.each(chosen)('%s', async (_, build) => {
    expect(await checkCase(build(), NAME)).toEqual([]);
  });

  test('has a case of every kind', () => {
    expect(chosen).toHaveLength(wanted.length);
  });
});

test('a shape over a limit is an error that names it, before anything runs', () => {
  const long = tf.tensor(new Float32Array(1.2e6 * 32), [1, 1.2e6, 32]);
  const short = tf.zeros([1, 4, 32]);
  const before = tf.memory();
  for (const run of [
    () => softmaxAttention(long, short, short),
    () => localLinearAttention(long, short, short),
    () => mesaAttention(long, short, short),
  ]) {
    expect(run).toThrow(
      /^\w+Attention: .* \(heads 1, Tq 1200000, Tk 4, D 32, Dv 32\), over the device's limit max\w+ of \d+/,
    );
  }
  expect(tf.memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
  tf.dispose([long, short]);
});

describe('a shader', () => {
  const shader: Shader = {
    key: 'test shader',
    workgroupSize: 64,
    params: { n: 'u32' },
    buffers: { out: { access: 'read_write', element: 'f32' } },
    workgroupBytes: 0,
    text: () => '@compute @workgroup_size(64) fn main() { out[0] = f32(params.n); }',
  };

  test('that asks for more than the device has is refused by the limit it exceeds', () => {
    const large = { ...shader, key: 'large', workgroupBytes: 20000 };
    expect(() => pipelineOf(device, large)).toThrow(
      'shader large needs maxComputeWorkgroupStorageSize 20000, the device has 16384',
    );
    const wide = { ...shader, key: 'wide', workgroupSize: 512 };
    expect(() => pipelineOf(device, wide)).toThrow('needs maxComputeInvocationsPerWorkgroup 512, the device has 256');
  });

  test('that does not compile is an error with its text, not a result', async () => {
    const warning = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
    const broken = { ...shader, key: 'broken', text: () => 'fn main() { nonsense }' };
    expect(pipelineOf(device, broken).state).toBe('pending');
    // The device tells in its own time.
    await expect(async () => {
      for (let i = 0; i < 100; i++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        pipelineOf(device, broken);
      }
    }).rejects.toThrow('shader broken does not compile on this device');
    expect(warning).toHaveBeenCalledWith(expect.stringContaining('shader broken does not compile'));
    warning.mockRestore();
  });
});
