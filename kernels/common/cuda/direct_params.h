// What the direct solver of local linear attention takes besides what all kernels of the family take.
#pragma once

namespace tfjs_lla {

// Which rows are solved directly.
enum DirectUse {
  kNeverDirect,   // conjugate gradient keeps what it has
  kMissedDirect,  // those that missed their tolerance or have a small ridge
  kAllDirect,
};

// What a byte per query row says of it.
enum DirectRow : unsigned char {
  kNotDirect,   // not the direct solver's, or no key is seen
  kDirect,
  kDirectBad,  // sees a number that is not finite, and the direct solver has all rows
};

// What the gradient of keys takes from each row that was solved directly. In double: products with a large solution cancel.
struct DirectRecord {
  double top;            // largest base-2 exponent
  double inverse_total;  // of the weights relative to it
  double mean_gamma;
  double probe_shift;  // kbar . x
  double u_shift;      // kbar . u
  double constant;     // what makes the gradient of the scores sum to zero
};

struct DirectParams {
  int use;                // DirectUse
  int blocks;             // that run over the groups of rows
  unsigned char* rows;    // [heads, queries]: DirectRow
  float* variance;        // [heads, key_ranges, 2]: sum of the squares of the visible keys minus the centre; their number
  float* smallest_ridge;  // [heads]: a smaller one is left to the direct solver
  float* factors;         // [blocks, 8, n (n + 1) / 2], n the head dimension up to a multiple of 8
  float* weights;         // [blocks, 8, key_tiles_per_head * 64]
  double* gammas;         // the same of the gradient
  DirectRecord* records;  // [heads, queries], of the gradient
  float* u;               // [heads, queries, dim], of the gradient
  float* u_rest;          // [heads, queries, dim], of the gradient: what u lacks because it is rounded
  float* probe_rest;      // [heads, queries, dim], of the gradient: the same of the probe
};

}  // namespace tfjs_lla
