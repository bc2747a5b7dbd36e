#include "emulator.h"


#include <stdexcept>

#include "threads.h"

namespace tfjs_lla {
namespace emulator {

Scheduler scheduler;

void Yield() {
  if (_setjmp(scheduler.current->place) == 0) _longjmp(scheduler.place, 1);
}

[[noreturn]] void Fail(const std::string& what) {
  const Fiber& self = *scheduler.current;
  scheduler.failure =
      what + " (block " + std::to_string(self.block->index) + ", thread " + std::to_string(self.thread) + ")";
  _longjmp(scheduler.place, 1);
}

static void Main() {
  (*scheduler.kernel)();
  scheduler.current->finished = true;
  scheduler.progress++;
  Yield();
}

void MeetWarp(Meeting meeting) {
  Fiber& self = *scheduler.current;
  const int warp = self.thread / kWarpSize;
  self.meeting = meeting;
  scheduler.progress++;
  if (++scheduler.warp_waiting[warp] < kWarpSize) {
    const unsigned epoch = scheduler.warp_epoch[warp];
    while (scheduler.warp_epoch[warp] == epoch) Yield();
    return;
  }
  for (int lane = 0; lane < kWarpSize; lane++) {
    if (Lane(warp, lane).meeting != meeting) Fail("lanes of a warp have diverged");
  }
  scheduler.warp_waiting[warp] = 0;
  scheduler.warp_epoch[warp]++;
}

void CheckShared(const void* address, int bytes) {
  const Block& block = *scheduler.current->block;
  const char* at = static_cast<const char*>(address);
  if (at < block.shared || at + bytes > block.shared + block.shared_bytes) Fail("address is not in shared memory");
  if (reinterpret_cast<uintptr_t>(at) % bytes != 0) Fail("address is not aligned");
}

Thread& Current() { return *scheduler.current; }

bool SyncBlock(bool value) {
  Fiber& self = *scheduler.current;
  for (int t = self.thread / 128 * 128; t < self.thread; t++) {
    if (scheduler.fibers[t]->meeting == Meeting::kBlock && scheduler.fibers[t]->products != self.products) {
      Fail("warps of a warpgroup have diverged");
    }
  }
  self.meeting = Meeting::kBlock;
  scheduler.progress++;
  scheduler.block_any |= value;
  if (++scheduler.block_waiting < self.block->threads) {
    const unsigned epoch = scheduler.block_epoch;
    while (scheduler.block_epoch == epoch) Yield();
  } else {
    scheduler.block_result = scheduler.block_any;
    scheduler.block_any = false;
    scheduler.block_waiting = 0;
    scheduler.block_epoch++;
  }
  return scheduler.block_result;
}

bool AnyInWarp(bool value) {
  Fiber& self = *scheduler.current;
  self.words[0] = value;
  MeetWarp(Meeting::kAny);
  bool any = false;
  for (int lane = 0; lane < kWarpSize; lane++) any |= Lane(self.thread / kWarpSize, lane).words[0] != 0;
  LeaveWarp(Meeting::kAny);
  return any;
}

float Shuffle(float value, int from_lane) {
  Fiber& self = *scheduler.current;
  self.words[0] = BitCast<unsigned>(value);
  MeetWarp(Meeting::kShuffle);
  const unsigned other = Lane(self.thread / kWarpSize, from_lane).words[0];
  LeaveWarp(Meeting::kShuffle);
  return BitCast<float>(other);
}

double Shuffle(double value, int from_lane) {
  Fiber& self = *scheduler.current;
  std::memcpy(self.words, &value, sizeof value);
  MeetWarp(Meeting::kShuffle);
  double other;
  std::memcpy(&other, Lane(self.thread / kWarpSize, from_lane).words, sizeof other);
  LeaveWarp(Meeting::kShuffle);
  return other;
}

void MultiplyAdd(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  Fiber& self = *scheduler.current;
  const int warp = self.thread / kWarpSize, lane = self.thread % kWarpSize;
  for (int i = 0; i < 4; i++) self.words[i] = a[i];
  self.words[4] = b0;
  self.words[5] = b1;
  MeetWarp(Meeting::kMultiply);
  const int group = lane / 4, column = lane % 4 * 2;
  for (int e = 0; e < 4; e++) {
    float sum = 0;
    for (int k = 0; k < 16; k++) {
      const int word = (e / 2) + (k / 8) * 2;
      const float x = Half(Lane(warp, group * 4 + k % 8 / 2).words[word], k % 2);
      const float y = Half(Lane(warp, (column + e % 2) * 4 + k % 8 / 2).words[4 + k / 8], k % 2);
      sum += x * y;
    }
    d[e] += sum;
  }
  LeaveWarp(Meeting::kMultiply);
}

void MultiplyAddTensorFloat(float (&d)[4], const float (&a)[4], float b0, float b1) {
  Fiber& self = *scheduler.current;
  const int warp = self.thread / kWarpSize, lane = self.thread % kWarpSize;
  const auto take = [](float x) { return BitCast<unsigned>(x) & ~0x1fffu; };
  for (int i = 0; i < 4; i++) self.words[i] = take(a[i]);
  self.words[4] = take(b0);
  self.words[5] = take(b1);
  MeetWarp(Meeting::kMultiply);
  const int group = lane / 4, column = lane % 4 * 2;
  for (int e = 0; e < 4; e++) {
    float sum = 0;
    for (int k = 0; k < 8; k++) {
      const float x = BitCast<float>(Lane(warp, group * 4 + k % 4).words[e / 2 + k / 4 * 2]);
      const float y = BitCast<float>(Lane(warp, (column + e % 2) * 4 + k % 4).words[4 + k / 4]);
      sum += x * y;
    }
    d[e] += sum;
  }
  LeaveWarp(Meeting::kMultiply);
}

void LoadMatrices(unsigned (&m)[4], const void* row, bool transposed) {
  Fiber& self = *scheduler.current;
  const int warp = self.thread / kWarpSize, lane = self.thread % kWarpSize;
  CheckShared(row, 16);
  self.address = row;
  MeetWarp(Meeting::kLoad);
  for (int i = 0; i < 4; i++) {
    unsigned short pair[2];
    for (int e = 0; e < 2; e++) {
      const int r = transposed ? lane % 4 * 2 + e : lane / 4, c = transposed ? lane / 4 : lane % 4 * 2 + e;
      std::memcpy(&pair[e], static_cast<const char*>(Lane(warp, i * 8 + r).address) + c * 2, 2);
    }
    m[i] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
  }
  LeaveWarp(Meeting::kLoad);
}

void RunBackwards(bool backwards) { scheduler.backwards = backwards; }

void Launch(long long blocks, int threads, int shared_bytes, const std::function<void()>& kernel) {
  while (static_cast<int>(scheduler.fibers.size()) < threads) {
    scheduler.fibers.push_back(std::make_unique<Fiber>());
    scheduler.stacks.push_back(new GuardedMemory(kStackBytes));
  }
  scheduler.kernel = &kernel;
  for (long long turn = 0; turn < blocks; turn++) {
    const long long index = scheduler.backwards ? blocks - 1 - turn : turn;
    GuardedMemory shared(shared_bytes + 16);
    scheduler.block = {index, threads, shared.data(), shared_bytes};
    scheduler.warp_waiting.assign(threads / kWarpSize, 0);
    scheduler.warp_epoch.assign(threads / kWarpSize, 0);
    scheduler.block_waiting = 0;
    scheduler.block_any = false;
    scheduler.barriers.clear();
    scheduler.failure.clear();
    for (int t = 0; t < threads; t++) {
      Fiber& fiber = *scheduler.fibers[t];
      fiber.block = &scheduler.block;
      fiber.thread = t;
      fiber.started = fiber.finished = false;
      fiber.meeting = Meeting::kNone;
      fiber.open.clear();
      fiber.groups.clear();
      fiber.open_products.clear();
      fiber.product_groups.clear();
      fiber.products = 0;
    }
    int finished = 0;
    while (finished < threads) {
      const long long before = scheduler.progress;
      finished = 0;
      for (int place = 0; place < threads; place++) {
        const int t = scheduler.backwards ? threads - 1 - place : place;
        Fiber& fiber = *scheduler.fibers[t];
        if (!fiber.finished) {
          scheduler.current = &fiber;
          if (_setjmp(scheduler.place) == 0) {
            if (fiber.started) _longjmp(fiber.place, 1);
            fiber.started = true;
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = scheduler.stacks[t]->data();
            fiber.context.uc_stack.ss_size = kStackBytes;
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, Main, 0);
            setcontext(&fiber.context);
          }
          if (!scheduler.failure.empty()) throw std::runtime_error(scheduler.failure);
        }
        finished += scheduler.fibers[t]->finished;
      }
      if (scheduler.progress == before) {
        throw std::runtime_error("threads wait for others that do not come (block " + std::to_string(index) + ")");
      }
    }
    for (const auto& [place, barrier] : scheduler.barriers) {
      if (!barrier.copies.empty()) throw std::runtime_error("copies that nobody has waited for");
    }
    for (int i = 0; i < 16; i++) {
      if (shared.data()[shared_bytes + i] != '\xff') throw std::runtime_error("a write beyond shared memory");
    }
  }
}

}  // namespace emulator
}  // namespace tfjs_lla
