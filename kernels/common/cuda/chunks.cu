// Kernels of linear attention, and what mesa attention shares with it: sums of chunks and products with them, by precision.
#include "common/cuda/chunk_products.cuh"
#include "common/cuda/chunk_sums.cuh"

namespace tfjs_lla {

TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kChunkThreads, 8) tfjs_lla_prepare_chunks(const ChunkParams p) {
  PrepareChunks{p}.Run();
}
TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kChunkThreads, 8) tfjs_lla_scan_chunks(const ChunkParams p) { ScanChunks{p}.Run(); }

// `columns`: 64 times `tiles`.
#define TFJS_LLA_MULTIPLY_CHUNKS(precision, high, columns, tiles)                        \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kChunkThreads, (ChunkBlocksAtOnce(tiles)))             \
      tfjs_lla_multiply_chunks_##precision##_##columns(const ChunkParams p) {            \
    MultiplyChunks<tiles, high>(p).Run();                                                \
  }

#define TFJS_LLA_CHUNKS(precision, high)                                                                      \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kChunkThreads, 4) tfjs_lla_sum_chunks_##precision(const ChunkParams p) {     \
    SumChunk<high>{p}.Run();                                                                                  \
  }                                                                                                           \
  TFJS_LLA_MULTIPLY_CHUNKS(precision, high, 64, 1)                                                            \
  TFJS_LLA_MULTIPLY_CHUNKS(precision, high, 128, 2)                                                           \
  TFJS_LLA_MULTIPLY_CHUNKS(precision, high, 256, 4)

TFJS_LLA_CHUNKS(high, true)
TFJS_LLA_CHUNKS(fast, false)

}  // namespace tfjs_lla
