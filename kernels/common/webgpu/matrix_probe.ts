import { declareMatrices, matrixDirectives, matrixPlace, matrixText } from './matrix.wgsl.js';
import { BLOCK, hasMatrixFeatures, type Matrices, rememberMatrices, SUBGROUP } from './matrices.js';
import { storageUsage } from './work_buffers.js';

/*
 * Adapters have been seen that have the feature of subgroup matrices and list none that they multiply, and matrices may be
 * read from a wrong place in silence. So a device is asked for one product of which the result is known.
 */

/** Whole numbers, so that products and sums are exact; no two rows and no two columns are alike. */
const leftNumber = (row: number, column: number): number => ((3 * row + 5 * column + row * row) % 11) - 5;
const rightNumber = (row: number, column: number): number => ((7 * row + 2 * column + column * column) % 13) - 6;

const QUADS = BLOCK / 4;
const BLOCK_LENGTH = BLOCK * BLOCK;

/** `left right` and behind it `left right^T`, through the same memory and by the same texts as in the kernels. */
function probeText(matrices: Matrices): string {
  const { left, right, multiplyAdd, storeSum } = matrixText(matrices);
  const product = (isTransposed: boolean, offset: number): string => `
  {
    var product = Sum();
    let row = ${left('0u', QUADS)};
    let column = ${right('0u', QUADS, isTransposed)};
    product = ${multiplyAdd('row', 'column', 'product')};
    ${storeSum('0u', 'product', QUADS)}
  }
  workgroupBarrier();
  for (var i = tid; i < ${BLOCK_LENGTH / 4}u; i += ${SUBGROUP}u) { out[${offset / 4}u + i] = scores[i]; }
  workgroupBarrier();`;
  return `${matrixDirectives(matrices)}
@group(0) @binding(0) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(1) var<storage, read> operands: array<vec4f>;
var<workgroup> staged: array<Half4, ${BLOCK_LENGTH / 4}>;
var<workgroup> halves: array<Half4, ${BLOCK_LENGTH / 4}>;
var<workgroup> scores: array<vec4f, ${BLOCK_LENGTH / 4}>;
${declareMatrices(matrices)}
@compute @workgroup_size(${SUBGROUP})
fn main(@builtin(local_invocation_index) tid: u32) {
  ${matrixPlace(matrices)}
  for (var i = tid; i < ${BLOCK_LENGTH / 4}u; i += ${SUBGROUP}u) {
    halves[i] = toHalf4(operands[i]);
    staged[i] = toHalf4(operands[${BLOCK_LENGTH / 4}u + i]);
  }
  workgroupBarrier();
  ${product(false, 0)}
  ${product(true, BLOCK_LENGTH)}
}`;
}

const block = (at: (row: number, column: number) => number): number[] =>
  Array.from({ length: BLOCK_LENGTH }, (_, i) => at(Math.floor(i / BLOCK), i % BLOCK));

const productOf = (right: (k: number, column: number) => number): number[] =>
  block((row, column) =>
    Array.from({ length: BLOCK }, (_, k) => leftNumber(row, k) * right(k, column)).reduce((sum, term) => sum + term, 0),
  );

const expectedProducts = (): number[] => [
  ...productOf(rightNumber),
  ...productOf((k, column) => rightNumber(column, k)),
];

/** The pipeline of the probe; undefined where the device does not compile it. Its errors are nobody else's. */
async function compileProbe(device: GPUDevice, matrices: Matrices): Promise<GPUComputePipeline | undefined> {
  for (const filter of ['validation', 'internal'] as const) device.pushErrorScope(filter);
  const module = device.createShaderModule({ label: 'matrix probe', code: probeText(matrices) });
  const compiled = device
    .createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } })
    .catch(() => undefined);
  const errors = await Promise.all([device.popErrorScope(), device.popErrorScope()]);
  const pipeline = await compiled;
  return errors.some((error) => error !== null) ? undefined : pipeline;
}

async function runProbe(device: GPUDevice, pipeline: GPUComputePipeline): Promise<Float32Array> {
  const bytes = 4 * 2 * BLOCK_LENGTH;
  const [out, operands] = [0, 1].map(() => device.createBuffer({ size: bytes, usage: storageUsage() }));
  const staging = device.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  device.queue.writeBuffer(operands, 0, Float32Array.from([...block(leftNumber), ...block(rightNumber)]));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  const entries = [out, operands].map((buffer, binding) => ({ binding, resource: { buffer } }));
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(out, 0, staging, 0, bytes);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const result = new Float32Array(staging.getMappedRange().slice(0));
  for (const buffer of [out, operands, staging]) buffer.destroy();
  return result;
}

/** Whether the device's products of matrices are right, made in the given way; false also where it cannot make them. */
export async function multipliesRight(device: GPUDevice, matrices: Matrices): Promise<boolean> {
  const pipeline = await compileProbe(device, matrices);
  if (pipeline === undefined) return false;
  const expected = expectedProducts();
  const actual = await runProbe(device, pipeline);
  return expected.every((x, i) => actual[i] === x);
}

/** Finds out, once for a device and before its first call, whether `precision: 'fast'` has matrix units to compute by. */
export async function probeMatrices(device: GPUDevice, info?: GPUAdapterInfo): Promise<void> {
  if (!hasMatrixFeatures(device, info)) return;
  rememberMatrices(device, (await multipliesRight(device, 'hardware')) ? 'hardware' : undefined);
}
