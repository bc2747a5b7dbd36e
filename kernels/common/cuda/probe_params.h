// What the CUDA kernels of the family softmax, Parallax and local linear attention take: one struct, by value. Read by
// the compiler of the host and by CUDA's: plain types only.
#pragma once

#include "common/cuda/direct_params.h"

namespace tfjs_lla {

// Where the probe of a row comes from.
enum ProbeSource {
  kNoProbe,      // zero: softmax attention
  kGivenProbe,   // minus an input: Parallax attention
  kSolvedProbe,  // (C + ridge I)^-1 (q - kbar): local linear attention
};

// What the kernels know of a head before they start.
struct HeadSummary {
  int first_visible;  // the first key that no mask hides; `keys` where there is none
  int first_bad;      // the first visible key with a number that is not finite; `keys` where there is none
  int all_visible;    // 1: no key is hidden
  float key_unit;     // a power of two: key tiles hold (k - centre) / key_unit
  float value_unit;   // a power of two: value tiles hold v / value_unit
};

// What a range of keys of a head adds to its summary; followed by the sums of the visible keys, [padded dim].
struct RangeSummary {
  float largest_key;    // max |k|
  float largest_value;  // max |v|
  int visible;
  int first_visible;
  int first_bad;
};

// What the gradient of keys takes from each query row, for kRecordRows rows together. The weight of a row that is not ordinary
// comes out as zero. Units of products are those of a row's image and of the key or value tiles; that of products of dout and
// values and of u and keys is the same: the row's unit of eta, a power of two, which its weight is multiplied by.
enum RowField {
  kExponentUnit,  // of the products with key tiles, to base-2 exponents
  kScoreUnit,     // the same of scores
  kRowShift,      // weight times the unit of eta = 2^(exponent + shift)
  kProbeSlope,    // 1 + y . x = offset + slope * product
  kProbeOffset,
  kEtaOffset,  // eta = the sum of both products + offset
  kConstant,   // what makes the gradient of the scores sum to zero, in the unit of eta
  kRowFields
};

// Rows whose records lie together, field by field: they are copied at a time.
template <int kDim>
constexpr int kRecordRows = kDim <= 64 ? 32 : 16;

// The rows of a query tile as they are multiplied with keys and values.
enum RowImage { kQueryImage, kDoutImage, kProbeImage, kUImage /* of minus u */, kRowImages };

// What the gradient of keys takes from a tile of query rows, so that its weights fit into half precision.
struct RowTileRecord {
  float largest;  // weight times the unit of products with an image, of all images
  int bad_bound;  // keys before it are seen by a row that is NaN
};

struct ProbeParams {
  const float* query;             // [heads, queries, dim]
  const float* key;               // [heads, keys, dim]
  const float* value;             // [heads, keys, value_dim]
  const unsigned char* key_mask;  // [heads / heads_per_batch, keys], null: every key is visible
  const float* key_bias;          // [heads, keys], null: zeros
  const float* probe;             // [heads, queries, dim]: Parallax's r; null where none is given
  const float* ridge;             // [heads, queries], null: `ridge_value` in every row
  float* out;                     // [heads, queries, value_dim]
  float* probe_out;               // [heads, queries, dim]: the probe that was solved for, null where none is
  int* iterations;                // [query tiles, heads]: of conjugate gradient, null: not asked for

  // Scratch; probe_plan.h gives the sizes.
  char* ranges;          // [heads, key_ranges]: RangeSummary and sums
  HeadSummary* summary;  // [heads]
  float* centre;         // [heads, padded dim]
  char* key_tiles;       // [heads, key_tiles_per_head]: high parts, then low parts
  char* value_tiles;     // [heads, value_slices, key_tiles_per_head]
  float* bias;           // [heads, key_tiles_per_head * 64], in units of the base-2 exponent
  float* state;          // [blocks, 3, padded dim / 8, threads, 4], where it does not fit into shared memory

  // Of the gradient. `probe` is then Parallax's r or the probe that the forward pass solved for.
  const float* dout;            // [heads, queries, value_dim]
  float* dquery;                // [heads, queries, dim]
  float* dkey;                  // [heads, keys, dim]
  float* dvalue;                // [heads, keys, value_dim]
  float* dbias;                 // [heads, keys], null: not asked for
  float* dprobe;                // [heads, queries, dim], only where the probe is given
  float* dridge;                // [heads, queries], null: not asked for
  float* records;               // scratch: [heads, row_tiles, 64 / kRecordRows, RowField, kRecordRows]
  RowTileRecord* tile_records;  // scratch: [heads, row_tiles]
  char* row_tiles_memory;       // scratch: [heads, row_tiles, RowImage]: high parts, then low parts
  char* operands;               // scratch: of each block, where they do not fit into shared memory; of the forward pass, too

  int heads, heads_per_batch, queries, keys, dim, value_dim;
  int key_ranges, keys_per_range;
  int key_tiles_per_head, value_slices;
  int low_tiles;          // tiles of keys of each head before it have low parts
  int row_tiles;          // of 64 query rows, of a head
  int first_tile, tiles;  // query tiles of each head that this launch works on
  int causal;             // 0 or 1: query i sees the keys before keys - queries + i + 1
  float scale;
  float ridge_value;
  float tolerance;
  int split_tiles;  // query tiles before it, where operands are split: conjugate gradient's direction has a low part, too
  int max_iterations;
  int large_shared;  // 1: the GPU lets a block have much shared memory (capability.h); for the plan
  DirectParams direct;  // local linear attention's alone
};

}  // namespace tfjs_lla
