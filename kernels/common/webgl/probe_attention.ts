import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import { blockSizes, headGroups, rowBlocks } from './blocks.js';
import type { FlatTensor, WebGlCall } from './call.js';
import type { Image } from './device.js';
import { keyColumnsOf, prepareKeys, releaseKeys } from './keys.js';
import { Rows } from './rows.js';

/** What the probe of a block of rows is found from. */
export interface ProbeBlock {
  readonly rows: Rows;
  /** Weighted means of the centred keys; column `D` holds the sums of the weights. */
  readonly kbar: Image;
  /** A matrix of the block's rows and keys that may be written over. */
  readonly scratch: Image;
}

/** The forward pass of an operator of the family (operator.md): it differs by where the probe comes from. */
export interface ForwardProbe {
  readonly ridge?: number;
  /** The rows' probes, as wide as the keys. */
  find(block: ProbeBlock): Image;
  /** Where the probes are an output. */
  readonly out?: FlatTensor;
}

/** `out [..., Tq, Dv]` by blocks of rows whose weights are materialised. */
export function probeAttention(call: WebGlCall<SoftmaxAttentionAttrs>, out: FlatTensor, probe?: ForwardProbe): void {
  const { dims, attrs } = call;
  const { D, Dv } = dims;
  const sizes = blockSizes(dims, { weights: probe ? 3 : 2, keyColumns: keyColumnsOf(D, Dv) }, call.device.maxSize);
  for (const group of headGroups(dims, sizes)) {
    const keys = prepareKeys(call, group);
    for (const block of rowBlocks(dims, attrs.causal, sizes, group)) {
      const rows = new Rows(call, keys, block, probe?.ridge);
      rows.store(rows.weightedSum(probe ? effective(rows, probe) : rows.weights, keys.value), out, Dv);
      rows.release();
    }
    releaseKeys(call, keys);
  }
}

/** `p tau`, `tau = 1 + (k - kbar).x`. */
function effective(rows: Rows, probe: ForwardProbe): Image {
  const { keys } = rows;
  const scratch = rows.image(keys.keyTiles);
  const kbar = rows.weightedSum(rows.weights, keys.key);
  const x = probe.find({ rows, kbar, scratch });
  if (probe.out) rows.store(x, probe.out, rows.call.dims.D);
  rows.keyProducts(x, kbar, scratch);
  const weights = rows.image(keys.keyTiles);
  rows.weighted(scratch, 1, weights);
  rows.give(scratch);
  return weights;
}
