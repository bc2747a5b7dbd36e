// Runs a block of GPU threads on one core of a processor. Threads are fibers; they change places at what a warp or a
// block does together. Checked: every lane of a warp, and every thread of a block, comes to the same meeting; copies to
// shared memory are not there before they are waited for; shared memory and addresses of ldmatrix and copies are in
// bounds and aligned. Shared memory starts as NaN. Global memory lies between pages that may not be touched.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

namespace tfjs_lla {
namespace emulator {

template <class To, class From>
inline To BitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

struct Block {
  long long index;
  int threads;
  char* shared;
  int shared_bytes;
};

struct Thread {
  Block* block;
  int thread;
};

Thread& Current();
bool SyncBlock(bool value);
bool AnyInWarp(bool value);
float Shuffle(float value, int from_lane);
double Shuffle(double value, int from_lane);
void MultiplyAdd(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1);
void MultiplyAddTensorFloat(float (&d)[4], const float (&a)[4], float b0, float b1);
void LoadMatrices(unsigned (&m)[4], const void* row, bool transposed);
// Products of a warpgroup: done when they are waited for, with what then lies in shared memory.
void MultiplyAddTile(float* d, int columns, const unsigned (&a)[4], unsigned long long tile, bool transposed, bool keep);
// The same with rows [64, 16] of a tile.
void MultiplyTiles(float* d, int columns, unsigned long long rows, unsigned long long tile, bool keep);
void CommitProducts();
void WaitForProducts(int pending);
void CopyAsync(void* shared, const void* global);
void CommitCopies();
void WaitForCopies(int pending);
// Copies that a barrier counts: there when it is closed and some thread waits for it.
void InitBarriers(const void* barriers, int count);
void CopyBlock(void* shared, const void* global, int bytes, const void* barrier);
void CloseBarrier(const void* barrier);
void WaitForBarrier(const void* barrier, unsigned phase);

// Runs all blocks of a kernel, one after the other. Throws std::runtime_error where a check fails.
void Launch(long long blocks, int threads, int shared_bytes, const std::function<void()>& kernel);

// A kernel of a plan: how it is started, and what it is here. A GPU runs its own of that name.
struct KernelCall {
  const char* entry;
  long long blocks;
  int threads, shared_bytes;
  const void* params;
  const std::function<void()>& kernel;
};

// Runs it where this program runs kernels: in the emulator (memory.cc), or on a GPU (scripts/cuda/gpu).
void Run(const KernelCall& call);

template <class PlanLaunch, class Kernel>
void Run(const PlanLaunch& launch, Kernel kernel) {
  Run(KernelCall{launch.entry.c_str(), launch.blocks, launch.threads, launch.shared_bytes, &launch.params,
       [&] { kernel(launch.params); }});
}

// Whether blocks, and the threads of a block between its meetings, run from the last to the first: what must not depend on
// their order is then the same.
void RunBackwards(bool backwards);

// What bars of float32 (up to 5e-4) are multiplied by: 1 in the emulator; on a GPU, whose tensor cores cut their sums off where the
// emulator rounds them, 4.
extern const double kBarFactor;

// Memory between two pages that may not be touched; filled with NaN. It ends at the second one. (On a GPU: an allocation of its
// own, which compute-sanitizer guards.)
class GuardedMemory {
 public:
  explicit GuardedMemory(size_t bytes);
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  char* data() const { return data_; }

 private:
  char* mapped_;
  size_t mapped_bytes_;
  char* data_;
};

}  // namespace emulator
}  // namespace tfjs_lla
