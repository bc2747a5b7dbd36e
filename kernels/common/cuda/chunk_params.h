// What the CUDA kernels of linear and mesa attention take: one struct, ChunkParams, by value. Their sums over keys and
// over rows are all the same few products of chunks (operator READMEs). Read by the compiler of the host and by CUDA's:
// plain types only.
#pragma once

namespace tfjs_lla {

// Rows of a tile, and columns: padded widths are multiples of it.
constexpr int kChunkTile = 64;

enum ChunkFeatureMap { kFeatureEluPlusOne, kFeatureRelu, kFeatureIdentity };

// What a row comes out as (docs/decisions/0002).
enum ChunkRowState { kOrdinaryRow, kZeroRow, kNanRow };

// The keys of a tile, or of a head: `keys` where there is none.
struct ChunkKeyRecord {
  int first_visible;  // the first key that no mask hides
  int first_bad;      // the first visible key with a number that is not finite
};

// Rows to load: as they were given, or padded in scratch.
struct ChunkRows {
  const float* data;  // [heads, rows, width] as given, [heads, padded rows, padded width] in scratch
  int width;          // as given; 0: in scratch
  int map;            // ChunkFeatureMap, of given rows
};

// One part of what the rows r of a tile are the sum of:
//   a_r state + sum_i (a_r.b_i + constant) c_i
// over the items i of a chunk that belong to the row; the state is the sum over whole chunks.
struct ChunkPart {
  ChunkRows a;         // depth
  const float* b;      // [heads, padded items, depth]
  const float* c;      // [heads, padded items, columns]
  const float* state;  // of [chunks + 1] of each head: [depth, columns]
  int state_floats;    // from one chunk to the next
  int depth;           // padded
  int state_turned;    // 1: the state is [columns, depth]
};

constexpr int kMostChunkParts = 3;

enum ChunkResult {
  kResultRows,     // rows times their factor
  kResultFactors,  // what the gradient of linear attention needs of a query row
  kResultRests,    // of systems of mesa attention: right-hand sides minus rows minus ridge times solutions
};

// A call of linear or mesa attention.
struct ChunkCall {
  const float* query;             // [heads, queries, dim]
  const float* key;               // [heads, keys, dim]
  const float* value;             // [heads, keys, value_dim]
  const unsigned char* key_mask;  // [heads / heads_per_batch, keys], null: every key is visible
  float* out;                     // [heads, queries, value_dim]
  const float* dout;              // [heads, queries, value_dim]
  float* dquery;                  // [heads, queries, dim]
  float* dkey;                    // [heads, keys, dim]
  float* dvalue;                  // [heads, keys, value_dim]
  int heads, heads_per_batch, queries, keys, dim, value_dim;
  int causal;  // 0 or 1: query i sees the keys before keys - queries + i + 1
  // Of linear attention.
  int map;        // ChunkFeatureMap
  int normalize;  // 0 or 1
  float scale;    // only where not normalised: it cancels otherwise
  // Of mesa attention.
  const float* probe;  // [heads, queries, dim]: the solutions of the forward pass, of the gradient only
  float* probe_out;    // [heads, queries, dim]
  const float* ridge;  // [heads_per_batch, dim], null: `ridge_value` in every channel
  float ridge_value;
  float* dridge;  // [heads_per_batch, dim], null: not asked for
};

// A head's ridge. One that is not positive and finite makes all rows of its head NaN, which then compute with 1.
struct MesaRidge {
  float smallest;
  int usable;
};

// One launch of a kernel.
struct ChunkParams {
  int heads, heads_per_batch, queries, keys;
  int causal;   // 0 or 1: query i sees the keys before keys - queries + i + 1
  int chunk;    // items of a chunk, a multiple of kChunkTile
  int chunks;   // of the items of a head
  float scale;  // of rows, where they are not normalised

  // Prepare: keys and values padded, features in place of keys; zeros where hidden or not finite.
  const float* key;               // [heads, keys, dim]
  const float* value;             // [heads, keys, value_dim]
  const unsigned char* key_mask;  // [heads / heads_per_batch, keys], null: every key is visible
  int dim, value_dim, padded_dim, padded_value_dim;
  int map;  // ChunkFeatureMap
  float* padded_key;
  float* padded_value;
  int* key_states;               // [heads, padded keys]: ChunkRowState, kNanRow where not finite
  ChunkKeyRecord* tile_records;  // [heads, key tiles]

  // Sums: of each chunk left^T right, and the sum of left, times `constants` where given.
  const float* left;
  const float* right;
  float* sums;     // [heads, chunks + 1, sum_floats]
  int sum_floats;  // left_width * right_width, and left_width where the vector is asked for
  int left_width, right_width;
  int of_rows;  // 1: the items are query rows, and a chunk's sums come to be those from it on

  // Scan; what is known of a whole head besides.
  ChunkKeyRecord* head_records;  // [heads]
  const int* tile_bounds;        // [heads, query tiles]: keys that a bad row of the tile sees
  int* head_bounds;              // [heads]

  // Products.
  ChunkPart parts[kMostChunkParts];
  int part_count;
  int rows_are_keys;       // 1: the items are query rows
  int result;              // ChunkResult
  int normalize;           // 1: rows are divided by the sum of their weights
  const float* vector;     // behind the state of the first part, null: not asked for
  const float* constants;  // [heads, padded queries], null: zeros
  const int* row_states;   // [heads, padded rows], null: taken from the head and the row
  const float* features;   // [heads, padded rows, columns]: results are multiplied by the derivative of `map` at them
  float* out;              // [heads, rows, out_width], or padded where out_width is 0
  int out_width;
  float* padded_out;  // null, or a second copy, padded; zeros in rows that are not ordinary
  int columns;        // padded

  // Of the gradient of linear attention: a query row's factors.
  const float* dout;      // [heads, queries, value_dim]
  float* query_features;  // [heads, padded queries, depth]
  float* row_cotangent;   // [heads, padded queries, columns]: the cotangent times what the row's sums are multiplied by
  float* row_constants;   // [heads, padded queries]
  int* row_state_out;     // [heads, padded queries]
  int* tile_bounds_out;   // [heads, query tiles]

  // Of the systems of mesa attention: mesa_attention/cuda/.
  const float* ridge;  // as in a call
  float ridge_value;
  float* ridges;           // [heads, padded_dim], 1 in padding
  MesaRidge* head_ridges;  // [heads]
  const float* gram;       // sums of key key^T: [heads, chunks + 1, padded_dim, padded_dim]
  float* factors;          // [heads, systems]: tiles, see mesa_systems.cuh
  int systems;             // of a head: one for all rows, or one for each tile of them
  ChunkRows right_sides;   // of the systems
  float* rests;            // [heads, padded queries, padded_dim]: right-hand sides, then what is left of them
  float* solutions;        // [heads, padded queries, padded_dim]
  int is_correction;       // 1: adds to the solutions
  int is_last;             // 1: writes `out`
  const float* probe;      // [heads, queries, dim] as given
  float* padded_probe;     // [heads, padded queries, padded_dim]
  float* minus_solutions;  // null, or where the last solutions go, negated
  float* ridge_parts;      // null, or [heads, query tiles, padded_dim]: sums of minus solution times probe
  float* dridge;
};

}  // namespace tfjs_lla
