import { gradientImagesShader, imagesOf } from '../../kernels/common/webgpu/gradient_images.wgsl.js';
import { gradientKeysShader } from '../../kernels/common/webgpu/gradient_keys.wgsl.js';
import { gradientRowsShader, type ProbeKind } from '../../kernels/common/webgpu/gradient_rows.wgsl.js';
import type { Matrices } from '../../kernels/common/webgpu/matrices.js';
import { type AttentionShape, probeAttentionShader } from '../../kernels/common/webgpu/probe_attention.wgsl.js';
import { type InfoRowLayout, paddedWidth, rowLayout } from '../../kernels/common/webgpu/row_layout.js';
import { type Shader, shaderText } from '../../kernels/common/webgpu/shader.js';
import { matrixTile } from '../../kernels/common/webgpu/tile.js';
import { localLinearAttentionShader } from '../../kernels/local_linear_attention/forward.wgsl.js';

/** A kernel by matrices that a device may be asked to compile. */
interface Variant {
  readonly name: string;
  readonly shader: Shader;
}

/** Kernels by matrices: every operator, heads of all padded dimensions, with and without what is added to scores. */
function variants(matrices: Matrices): Variant[] {
  const sizes = [
    { D: 64, Dv: 64, hasKeyTerms: false },
    { D: 64, Dv: 64, hasKeyTerms: true },
    { D: 32, Dv: 32, hasKeyTerms: false },
    { D: 40, Dv: 100, hasKeyTerms: true },
    { D: 128, Dv: 128, hasKeyTerms: false },
  ];
  return sizes.flatMap(({ D, Dv, hasKeyTerms }) => {
    const [Dp, Dvp] = [paddedWidth(D), paddedWidth(Dv)];
    const shape = (subgroups: number, quads = 8, regions = 1, buffers?: number): AttentionShape => ({
      tile: matrixTile(
        matrices,
        Math.max(Dp, Dvp),
        { subgroups, quads, buffers },
        regions,
        buffers === undefined ? 1 : 2,
      ),
      Dp,
      Dvp,
      isAlignedD: D % 4 === 0,
      isAlignedDv: Dv % 4 === 0,
      hasKeyTerms,
      isSecond: false,
    });
    const layout = (rows: Parameters<typeof rowLayout>[0]): InfoRowLayout => rowLayout(rows, { hasUnits: true });
    const query = { name: 'query', width: D };
    const probe = layout([query, { name: 'probe', width: D, isNegated: true }]);
    const twice = layout([query, { ...query, isCentred: true }]);
    const size = `${D} ${Dv}${hasKeyTerms ? ' key terms' : ''}`;
    const wide = Math.max(Dp, Dvp) > 64;
    const probes: ProbeKind[] = ['none', 'given', 'solved'];
    const gradients = probes.flatMap((kind) => {
      const slots = [query, { name: 'dout', width: Dv }, ...(kind === 'none' ? [] : [{ name: 'probe', width: D }])];
      const rows = rowLayout(slots, { extra: (kind === 'solved' ? 2 * Dp : 0) + 4, hasUnits: true });
      const regions = imagesOf(rows, kind).length;
      const ofRows = (isKept: boolean): Shader => gradientRowsShader(shape(4, 2, 2, wide ? 1 : 2), rows, kind, isKept);
      const ofKeys = gradientKeysShader(shape(wide ? 4 : 8, 2, regions, wide ? 1 : 2), rows, kind, hasKeyTerms);
      const named = `gradient, probe ${kind}, ${size}`;
      return [
        { name: `${named}: rows`, shader: ofRows(kind === 'solved') },
        ...(kind === 'solved' ? [{ name: `${named}: rows, weights anew`, shader: ofRows(false) }] : []),
        { name: `${named}: images`, shader: gradientImagesShader(rows, kind) },
        { name: `${named}: keys`, shader: ofKeys },
      ];
    });
    return [
      ...gradients,
      { name: `softmax ${size}`, shader: probeAttentionShader(shape(4, 2), layout([query]), false) },
      { name: `parallax ${size}`, shader: probeAttentionShader(shape(4, 4), probe, true) },
      { name: `local linear ${size}`, shader: localLinearAttentionShader(shape(4, 4), twice, true) },
      { name: `local linear ${size} weights anew`, shader: localLinearAttentionShader(shape(4, 4), twice, false) },
    ];
  });
}

/** What came of compiling a variant. */
export interface Compilation {
  readonly name: string;
  readonly milliseconds: number;
  readonly workgroupBytes: number;
  /** What the compiler said, and why there is no pipeline if there is none. */
  readonly messages: readonly string[];
  readonly isGood: boolean;
}

async function compile(device: GPUDevice, { name, shader }: Variant, withPipeline: boolean): Promise<Compilation> {
  const start = performance.now();
  const code = shaderText(shader);
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ label: shader.key, code });
  const { messages } = await module.getCompilationInfo();
  const lines = code.split('\n');
  const said = messages.map(({ type, lineNum, message }) =>
    `${type} in line ${lineNum}: ${message} | ${lines[lineNum - 1] ?? ''}`.slice(0, 400),
  );
  let isGood = !messages.some(({ type }) => type === 'error');
  if (isGood && withPipeline) {
    try {
      await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } });
    } catch (error) {
      isGood = false;
      said.push(String(error).slice(0, 1000));
    }
  }
  const refused = await device.popErrorScope();
  if (refused) said.push(refused.message.slice(0, 1000));
  const distinct = [...new Set(said)].slice(0, 8);
  const { workgroupBytes } = shader;
  return {
    name,
    milliseconds: Math.round(performance.now() - start),
    workgroupBytes,
    messages: distinct,
    isGood: isGood && !refused,
  };
}

/**
 * Compiles every variant, or those of a name; `withPipeline`: down to the device's own code. A device without matrix units can only read the
 * text.
 */
export async function compileAll(
  device: GPUDevice,
  matrices: Matrices,
  withPipeline: boolean,
  report: (one: Compilation) => void,
  only?: RegExp,
): Promise<void> {
  for (const variant of variants(matrices)) {
    if (only?.test(variant.name) ?? true) report(await compile(device, variant, withPipeline));
  }
}
