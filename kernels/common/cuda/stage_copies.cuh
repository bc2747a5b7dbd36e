// How the stages of a ring in shared memory are filled.
#pragma once

#include "common/cuda/device.cuh"

namespace tfjs_lla {

// Copies to stages are started, closed and waited for stage by stage, in order. kByBlock: one thread has the copy engine take
// blocks of bytes, and a barrier for each stage counts them (compute capability 9.0); else every thread copies 16 bytes at a time.
template <bool kByBlock, int kThreads>
struct StageCopies {
  CopyBarrier* barriers;
  unsigned phases;  // of the barriers, a bit each

  // `memory`: a barrier for each stage. A barrier of the block comes before the first copy.
  TFJS_LLA_DEVICE void Place(char* memory, int stages) {
    if constexpr (kByBlock) {
      barriers = reinterpret_cast<CopyBarrier*>(memory);
      phases = 0;
      if (ThreadIndex() == 0) InitBarriers(barriers, stages);
    }
  }

  // Starts to copy; `bytes` is a multiple of 16.
  TFJS_LLA_DEVICE void Copy(int stage, void* shared, const void* global, int bytes) const {
    if constexpr (kByBlock) {
      if (ThreadIndex() == 0) CopyBlock(shared, global, bytes, barriers + stage);
    } else {
      for (int at = ThreadIndex() * 16; at < bytes; at += kThreads * 16) {
        CopyAsync(static_cast<char*>(shared) + at, static_cast<const char*>(global) + at);
      }
    }
  }

  // Behind the copies of a stage. One that is not `used` has none and is not waited for.
  TFJS_LLA_DEVICE void Close(int stage, bool used) const {
    if constexpr (kByBlock) {
      if (used && ThreadIndex() == 0) CloseBarrier(barriers + stage);
    } else {
      CommitCopies();
    }
  }

  // Waits for the copies of a stage, behind which at most kPending stages were closed. Those of other threads are there
  // after a barrier of the block.
  template <int kPending>
  TFJS_LLA_DEVICE void Wait(int stage) {
    if constexpr (kByBlock) {
      WaitForBarrier(barriers + stage, phases >> stage & 1);
      phases ^= 1u << stage;
    } else {
      WaitForCopies<kPending>();
    }
  }
};

}  // namespace tfjs_lla
