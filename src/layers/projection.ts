import { add, matMul, reshape, type Tensor, transpose } from '@tensorflow/tfjs-core';
import type { LayerVariable } from '@tensorflow/tfjs-layers';

/** A dense map of tokens, with a kernel `[...in, ...out]` and a bias `[...out]`. */
export class Projection {
  constructor(
    private readonly kernel: LayerVariable,
    private readonly bias?: LayerVariable,
  ) {}

  /** Tokens `[B, T, dim]` to heads `[B, H, T, D]`; the kernel is `[dim, H, D]`. */
  toHeads(tokens: Tensor): Tensor {
    const [B, T, dim] = tokens.shape;
    const [, H, D] = this.kernel.shape as number[];
    const projected = this.apply(reshape(tokens, [B * T, dim]), H * D);
    return transpose(reshape(projected, [B, T, H, D]), [0, 2, 1, 3]);
  }

  /** Heads `[B, H, T, D]` to tokens `[B, T, ...out]`; the kernel is `[H, D, ...out]`. */
  fromHeads(heads: Tensor): Tensor {
    const [B, H, T, D] = heads.shape;
    const out = (this.kernel.shape as number[]).slice(2);
    const rows = reshape(transpose(heads, [0, 2, 1, 3]), [B * T, H * D]);
    const size = out.reduce((product, n) => product * n, 1);
    return reshape(this.apply(rows, size), [B, T, ...out]);
  }

  // A matrix product, and no einsum: tfjs has no gradient of that.
  private apply(rows: Tensor, size: number): Tensor {
    const kernel = reshape(this.kernel.read(), [rows.shape[1] ?? 1, size]);
    const product = matMul(rows, kernel);
    return this.bias === undefined ? product : add(product, reshape(this.bias.read(), [size]));
  }
}
