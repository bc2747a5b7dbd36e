import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Gradients } from './judge.js';
import { sizeOf } from './values.js';
import type { Call, Operator, PlainOptions, TensorName, Values } from './values.js';

/** One case of the reference fixtures. */
export interface Fixture extends Call {
  readonly name: string;
  /** Cotangent of the output; absent where the fixture has no gradients. */
  readonly dout?: ArrayLike<number>;
  readonly out: ArrayLike<number>;
  readonly gradients: Gradients;
  /** The expected values were computed in float32, so they agree with float64 to about 1e-6 only. */
  readonly float32: boolean;
}

interface TensorEntry {
  readonly dtype: 'F32' | 'F64';
  readonly shape: number[];
  readonly data_offsets: [number, number];
}

/** A case of `options.safetensors`. */
interface OptionsCase {
  readonly op: Operator;
  readonly args: string[];
  readonly attrs: PlainOptions;
  readonly tensors: Record<string, string>;
  readonly outputs: string[];
}

/** A case of `reference.safetensors`. */
interface ReferenceCase {
  readonly op: Operator;
  readonly causal: boolean;
  readonly scale?: number;
  readonly ridge?: number | 'row';
  readonly normalize?: boolean;
  readonly note?: string;
  readonly inputs: string[];
  readonly outputs: string[];
}

interface File<C> {
  readonly cases: Record<string, C>;
  readonly tensor: (name: string) => Values;
}

/** Reads a safetensors file: header length, JSON header, then the data. */
export function readFile<C>(name: string): File<C> {
  const bytes = readFileSync(resolve('test/fixtures', name));
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<string, TensorEntry> & {
    __metadata__: { cases: string };
  };
  const tensor = (key: string): Values => {
    const { dtype, shape, data_offsets: offsets } = header[key];
    const data = bytes.subarray(start + offsets[0], start + offsets[1]);
    const read = dtype === 'F32' ? (i: number) => data.readFloatLE(4 * i) : (i: number) => data.readDoubleLE(8 * i);
    return { shape, data: Float64Array.from({ length: sizeOf(shape) }, (_, i) => read(i)) };
  };
  return { cases: JSON.parse(header.__metadata__.cases) as Record<string, C>, tensor };
}

const names: Readonly<Record<string, TensorName>> = {
  q: 'query',
  k: 'key',
  v: 'value',
  r: 'probe',
  probe: 'probe',
  ridge: 'ridge',
  bias: 'keyBias',
  mask: 'keyMask',
};

function build(name: string, operator: Operator, options: PlainOptions, inputs: string[], file: File<unknown>) {
  const tensor = (key: string) => file.tensor(`${name}.${key}`);
  const optional = Object.fromEntries(inputs.filter((key) => key !== 'dout').map((key) => [names[key], tensor(key)]));
  return {
    name,
    operator,
    options,
    tensors: { ...optional, query: tensor('q'), key: tensor('k'), value: tensor('v') },
    out: tensor('out').data,
  };
}

function gradientsOf(name: string, outputs: string[], file: File<unknown>): Gradients {
  return Object.fromEntries(
    outputs
      .filter((key) => key !== 'out')
      .map((key) => [names[key.slice(1)], Float64Array.from(file.tensor(`${name}.${key}`).data)]),
  );
}

/**
 * Every case of both fixture files in one shape. A ridge given as a number with a gradient `dridge` becomes a scalar
 * tensor, so that the gradient has an input to belong to.
 */
export function loadFixtures(): Fixture[] {
  const options = readFile<OptionsCase>('options.safetensors');
  const reference = readFile<ReferenceCase>('reference.safetensors');
  const fromOptions = Object.entries(options.cases).map(([name, c]): Fixture => {
    const inputs = [...c.args, ...Object.values(c.tensors)];
    return {
      ...build(name, c.op, c.attrs, inputs, options),
      dout: options.tensor(`${name}.dout`).data,
      gradients: gradientsOf(name, c.outputs, options),
      float32: false,
    };
  });
  const fromReference = Object.entries(reference.cases).map(([name, c]): Fixture => {
    // The linear cases' queries and keys went through their feature map already.
    const linear: PlainOptions = c.op === 'linearAttention' ? { featureMap: 'identity', normalize: c.normalize } : {};
    const scale: PlainOptions = c.scale === undefined ? {} : { scale: c.scale };
    const built = build(name, c.op, { causal: c.causal, ...scale, ...linear }, c.inputs, reference);
    const ridge: Values | undefined = typeof c.ridge === 'number' ? { shape: [], data: [c.ridge] } : undefined;
    return {
      ...built,
      tensors: ridge ? { ...built.tensors, ridge } : built.tensors,
      ...(c.inputs.includes('dout') && { dout: reference.tensor(`${name}.dout`).data }),
      gradients: gradientsOf(name, c.outputs, reference),
      float32: c.note?.includes('float32 reference') ?? false,
    };
  });
  return [...fromOptions, ...fromReference];
}
