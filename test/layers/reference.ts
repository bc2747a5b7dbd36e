/** The layers in float64, written down from their definitions: loops over tokens, nothing of tfjs. */
import { judgeForward } from '../judge.js';
import { sizeOf, type Operator, type Values } from '../values.js';
import type { AttentionKind } from './kinds.js';

/** Weights by their names without the layer's. */
export type Weights = Readonly<Record<string, Values>>;

export interface PlainArgs {
  readonly numHeads: number;
  readonly keyDim: number;
  readonly valueDim?: number;
  readonly ridge?: number;
  readonly trainableRidge?: boolean;
  readonly useCausalMask?: boolean;
  readonly rotary?: { readonly base: number; readonly fraction: number };
}

/** Channels of one token. */
const row = ({ shape, data }: Values, ...index: number[]): number[] => {
  const inner = shape.slice(index.length);
  const flat = index.reduce((at, i, axis) => at * shape[axis] + i, 0);
  return Array.from({ length: sizeOf(inner) }, (_, i) => data[flat * sizeOf(inner) + i]);
};

/** `out_o = sum_i x_i kernel_io + bias_o`; the kernel's rows are those of `x`, all other axes its columns. */
function dense(x: number[], kernel: Values, bias?: Values): number[] {
  const columns = sizeOf(kernel.shape) / x.length;
  return Array.from({ length: columns }, (_, o) =>
    x.reduce((sum, xi, i) => sum + xi * kernel.data[i * columns + o], bias?.data[o] ?? 0),
  );
}

/** Pairs of channels `(i, i + n / 2)` of the first `n` as complex numbers, turned by `position * base^(-2 i / n)`. */
export function rotated(
  x: number[],
  position: number,
  { base, fraction }: { base: number; fraction: number },
): number[] {
  const n = Math.floor(x.length * fraction + 1e-9);
  const out = [...x];
  for (let i = 0; i < n / 2; i++) {
    const angle = position * Math.pow(base, (-2 * i) / n);
    const [re, im] = [x[i], x[i + n / 2]];
    out[i] = re * Math.cos(angle) - im * Math.sin(angle);
    out[i + n / 2] = re * Math.sin(angle) + im * Math.cos(angle);
  }
  return out;
}

/** Every token of `x` projected, split into heads: `[B, H, T, D]`. */
function heads(x: Values, weights: Weights, name: string, rotary?: PlainArgs['rotary']): Values {
  const kernel = weights[`${name}/kernel`];
  const [B, T] = x.shape;
  const [, H, D] = kernel.shape;
  const data = new Float64Array(B * H * T * D);
  for (let b = 0; b < B; b++) {
    for (let t = 0; t < T; t++) {
      const projected = dense(row(x, b, t), kernel, weights[`${name}/bias`]);
      for (let h = 0; h < H; h++) {
        const head = projected.slice(h * D, (h + 1) * D);
        data.set(rotary ? rotated(head, t, rotary) : head, ((b * H + h) * T + t) * D);
      }
    }
  }
  return { shape: [B, H, T, D], data };
}

/** Multi-head attention of a kind. Lengths are equal where it is causal, so that there is no alignment to get wrong. */
export function attention(
  kind: AttentionKind,
  args: PlainArgs,
  weights: Weights,
  inputs: Values[],
  mask?: Values,
): Values {
  const [query, value = query, key = value] = inputs;
  const { numHeads: H, rotary, useCausalMask: causal = false, ridge = 1 } = args;
  const trained = weights.ridge as Values | undefined;
  const ridges = trained && Float64Array.from(trained.data, (raw) => Math.log1p(Math.exp(raw)));
  const hasRidge = kind === 'localLinearAttention' || kind === 'mesaAttention';
  const operator: Operator = kind;
  const call = {
    operator,
    options: { causal, ...(hasRidge && !ridges && { ridge }) },
    tensors: {
      query: heads(query, weights, 'query', rotary),
      key: heads(key, weights, 'key', rotary),
      value: heads(value, weights, 'value'),
      ...(kind === 'parallaxAttention' && { probe: heads(query, weights, 'probe', rotary) }),
      ...(hasRidge && ridges && { ridge: { shape: [H, 1], data: ridges } }),
      ...(mask && { keyMask: mask }),
    },
  };
  const attended = judgeForward(call);
  const [B, T] = query.shape;
  const Dv = call.tensors.value.shape[3];
  const out = Array.from({ length: B * T }, (_, at) => {
    const [b, t] = [Math.floor(at / T), at % T];
    const joined = Array.from({ length: H * Dv }, (_, i) => {
      const h = Math.floor(i / Dv);
      return attended[((b * H + h) * T + t) * Dv + (i % Dv)];
    });
    return dense(joined, weights['attention_output/kernel'], weights['attention_output/bias']);
  });
  return { shape: [B, T, ...weights['attention_output/kernel'].shape.slice(2)], data: out.flat() };
}

/** `erf(x) = 2 / sqrt(pi) exp(-x^2) sum_n 2^n x^(2n+1) / (2n+1)!!`, a sum without cancellation. */
function erf(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const gelu = (x: number) => (x / 2) * (1 + erf(x / Math.SQRT2));

function eachToken(x: Values, map: (token: number[]) => number[]): Values {
  const [B, T] = x.shape;
  return {
    shape: x.shape,
    data: Array.from({ length: B * T }, (_, at) => map(row(x, Math.floor(at / T), at % T))).flat(),
  };
}

function normalized(x: Values, weights: Weights, name: string, epsilon: number): Values {
  const [gamma, beta] = [weights[`${name}/gamma`].data, weights[`${name}/beta`].data];
  return eachToken(x, (token) => {
    const mean = token.reduce((a, b) => a + b, 0) / token.length;
    const variance = token.reduce((sum, c) => sum + (c - mean) ** 2, 0) / token.length;
    return token.map((c, i) => ((c - mean) / Math.sqrt(variance + epsilon)) * gamma[i] + beta[i]);
  });
}

const sum = (a: Values, b: Values): Values => ({
  shape: a.shape,
  data: Float64Array.from(a.data, (x, i) => x + b.data[i]),
});

/** The pre-norm block: `x + attention(norm(x))`, then `x + mlp(norm(x))`. */
export function block(
  kind: AttentionKind,
  args: PlainArgs & { epsilon: number },
  weights: Weights,
  x: Values,
  mask?: Values,
): Values {
  const inner = Object.fromEntries(
    Object.entries(weights).map(([name, weight]) => [name.replace(/^attention\//, ''), weight]),
  );
  const attended = sum(x, attention(kind, args, inner, [normalized(x, weights, 'attention_norm', args.epsilon)], mask));
  const mlp = eachToken(normalized(attended, weights, 'mlp_norm', args.epsilon), (token) => {
    const hidden = dense(token, weights['mlp_hidden/kernel'], weights['mlp_hidden/bias']).map(gelu);
    return dense(hidden, weights['mlp_output/kernel'], weights['mlp_output/bias']);
  });
  return sum(attended, mlp);
}
