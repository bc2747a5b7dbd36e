// What the parts of the emulator share: threads as fibers, and who runs.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "emulator.h"

namespace tfjs_lla {
namespace emulator {

constexpr int kWarpSize = 32;
constexpr size_t kStackBytes = 256 * 1024;

// What a warp or a block does together. Lanes that come to different meetings have diverged.
enum class Meeting { kNone, kAny, kShuffle, kMultiply, kLoad, kBlock };

struct Copy {
  char* shared;
  char bytes[16];
};

// A thread's share of a product of its warpgroup: two rows.
struct Product {
  float* d;
  std::vector<float> sums;  // what `d` was, unless an open product is to give it
  bool first;
  int columns;
  _Float16 rows[2][16];
  unsigned long long row_tile;  // where they lie in a tile, else 0
  unsigned long long tile;
  bool transposed;
};

// A barrier of copies of blocks of bytes.
struct Barrier {
  std::vector<std::pair<char*, std::vector<char>>> copies;
  bool closed = false;
  unsigned phase = 0;  // the one that is not over
};

struct Fiber : Thread {
  ucontext_t context;
  jmp_buf place;
  bool started, finished;
  Meeting meeting;
  unsigned words[8];  // what this thread brings to a meeting
  const void* address;
  std::vector<Copy> open;  // copies of the group that is not closed
  std::deque<std::vector<Copy>> groups;
  std::vector<Product> open_products;
  std::deque<std::vector<Product>> product_groups;
  long long products;  // that it has started
};

struct Scheduler {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<GuardedMemory*> stacks;
  Fiber* current = nullptr;
  Block block;
  const std::function<void()>* kernel;
  jmp_buf place;
  // Meetings come to an end one after the other: threads wait for the number to change.
  std::vector<int> warp_waiting;
  std::vector<unsigned> warp_epoch;
  int block_waiting;
  unsigned block_epoch;
  bool block_any, block_result;
  long long progress;
  std::map<const void*, Barrier> barriers;
  std::string failure;
  bool backwards = false;
};

extern Scheduler scheduler;

// Back to the scheduler, which runs another thread.
void Yield();

// Fibers cannot throw across their stacks: the scheduler does.
[[noreturn]] void Fail(const std::string& what);

inline Fiber& Lane(int warp, int lane) { return *scheduler.fibers[warp * kWarpSize + lane]; }

// Waits for all lanes of the warp; what they brought stays readable until the next meeting, since a second wait
// follows.
void MeetWarp(Meeting meeting);
inline void LeaveWarp(Meeting meeting) { MeetWarp(meeting); }

inline _Float16 Half(unsigned word, int index) { return BitCast<_Float16>(static_cast<unsigned short>(word >> (16 * index))); }

void CheckShared(const void* address, int bytes);

}  // namespace emulator
}  // namespace tfjs_lla
