#include "emulator.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace tfjs_lla {
namespace emulator {
namespace {

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

Scheduler scheduler;

// Back to the scheduler, which runs another thread.
void Yield() {
  if (_setjmp(scheduler.current->place) == 0) _longjmp(scheduler.place, 1);
}

// Fibers cannot throw across their stacks: the scheduler does.
[[noreturn]] void Fail(const std::string& what) {
  const Fiber& self = *scheduler.current;
  scheduler.failure =
      what + " (block " + std::to_string(self.block->index) + ", thread " + std::to_string(self.thread) + ")";
  _longjmp(scheduler.place, 1);
}

void Main() {
  (*scheduler.kernel)();
  scheduler.current->finished = true;
  scheduler.progress++;
  Yield();
}

Fiber& Lane(int warp, int lane) { return *scheduler.fibers[warp * kWarpSize + lane]; }

// Waits for all lanes of the warp; what they brought stays readable until the next meeting, since a second wait
// follows.
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

void LeaveWarp(Meeting meeting) { MeetWarp(meeting); }

_Float16 Half(unsigned word, int index) { return BitCast<_Float16>(static_cast<unsigned short>(word >> (16 * index))); }

void CheckShared(const void* address, int bytes) {
  const Block& block = *scheduler.current->block;
  const char* at = static_cast<const char*>(address);
  if (at < block.shared || at + bytes > block.shared + block.shared_bytes) Fail("address is not in shared memory");
  if (reinterpret_cast<uintptr_t>(at) % bytes != 0) Fail("address is not aligned");
}

}  // namespace

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

namespace {

// A number of a tile: the 16-byte chunks of its rows are permuted, by the place in shared memory.
_Float16 TileNumber(unsigned long long tile, int row, int column) {
  const int pattern = tile >> 62 == 1 ? 128 : 64;
  const int start = static_cast<int>(tile & 0x3fff) * 16;
  // A pattern begins at a multiple of its size; within it, products begin at some chunk of the first row.
  if (start % (8 * pattern) >= pattern) Fail("a tile does not begin where its pattern does");
  const int linear = start + row * pattern + column * 2;
  const int swizzle = pattern == 128 ? linear >> 7 & 7 : linear >> 7 & 3;
  const Block& block = *scheduler.current->block;
  const int offset = linear ^ swizzle << 4;
  if (offset + 2 > block.shared_bytes) Fail("a tile is not in shared memory");
  _Float16 number;
  std::memcpy(&number, block.shared + offset, 2);
  return number;
}

void Multiply(const Product& product) {
  if (product.first) std::memcpy(product.d, product.sums.data(), product.sums.size() * sizeof(float));
  const int thread = scheduler.current->thread % 128, first_row = thread / kWarpSize * 16 + thread % kWarpSize / 4;
  _Float16 rows[2][16];
  for (int r = 0; r < 2; r++) {
    for (int k = 0; k < 16; k++) {
      rows[r][k] = product.row_tile ? TileNumber(product.row_tile, first_row + 8 * r, k) : product.rows[r][k];
    }
  }
  for (int column = 0; column < product.columns; column++) {
    _Float16 tile[16];
    for (int k = 0; k < 16; k++) {
      tile[k] = product.transposed ? TileNumber(product.tile, k, column) : TileNumber(product.tile, column, k);
    }
    // This thread has two columns of each eight.
    if (column % 8 / 2 != scheduler.current->thread % 4) continue;
    for (int r = 0; r < 2; r++) {
      float sum = 0;
      for (int k = 0; k < 16; k++) sum += static_cast<float>(rows[r][k]) * static_cast<float>(tile[k]);
      product.d[column / 8 * 4 + r * 2 + column % 2] += sum;
    }
  }
}

}  // namespace

namespace {

// Leaves a product to whoever waits for it; until then its sums are NaN.
void Start(Product product, bool keep) {
  Fiber& self = *scheduler.current;
  float* const d = product.d;
  const auto same = [&](const Product& other) { return other.d == d; };
  bool open = std::any_of(self.open_products.begin(), self.open_products.end(), same);
  for (const auto& group : self.product_groups) open |= std::any_of(group.begin(), group.end(), same);
  product.sums.assign(product.columns / 2, 0.0f);
  product.first = !open || !keep;
  if (product.first && keep) product.sums.assign(d, d + product.columns / 2);
  std::memset(d, 0xff, product.columns / 2 * sizeof(float));
  self.open_products.push_back(std::move(product));
  self.products++;
}

}  // namespace

void MultiplyAddTile(float* d, int columns, const unsigned (&a)[4], unsigned long long tile, bool transposed, bool keep) {
  Fiber& self = *scheduler.current;
  const int warp = self.thread / kWarpSize, lane = self.thread % kWarpSize;
  for (int i = 0; i < 4; i++) self.words[i] = a[i];
  MeetWarp(Meeting::kMultiply);
  Product product{d, {}, true, columns, {}, 0, tile, transposed};
  for (int r = 0; r < 2; r++) {
    for (int k = 0; k < 16; k++) {
      product.rows[r][k] = Half(Lane(warp, lane / 4 * 4 + k % 8 / 2).words[r + k / 8 * 2], k % 2);
    }
  }
  LeaveWarp(Meeting::kMultiply);
  Start(std::move(product), keep);
}

void MultiplyTiles(float* d, int columns, unsigned long long rows, unsigned long long tile, bool keep) {
  MeetWarp(Meeting::kMultiply);
  Start(Product{d, {}, true, columns, {}, rows, tile, false}, keep);
}

void CommitProducts() {
  Fiber& self = *scheduler.current;
  self.product_groups.push_back(std::move(self.open_products));
  self.open_products.clear();
}

void WaitForProducts(int pending) {
  Fiber& self = *scheduler.current;
  while (static_cast<int>(self.product_groups.size()) > pending) {
    for (const Product& product : self.product_groups.front()) Multiply(product);
    self.product_groups.pop_front();
  }
}

void CopyAsync(void* shared, const void* global) {
  CheckShared(shared, 16);
  if (reinterpret_cast<uintptr_t>(global) % 16 != 0) Fail("address of a copy is not aligned");
  Copy copy;
  copy.shared = static_cast<char*>(shared);
  std::memcpy(copy.bytes, global, 16);
  // Whoever reads too early reads NaN.
  std::memset(shared, 0xff, 16);
  scheduler.current->open.push_back(copy);
}

void CommitCopies() {
  Fiber& self = *scheduler.current;
  self.groups.push_back(std::move(self.open));
  self.open.clear();
}

void WaitForCopies(int pending) {
  Fiber& self = *scheduler.current;
  while (static_cast<int>(self.groups.size()) > pending) {
    for (const Copy& copy : self.groups.front()) std::memcpy(copy.shared, copy.bytes, 16);
    self.groups.pop_front();
  }
}

void InitBarriers(const void* barriers, int count) {
  CheckShared(barriers, 8);
  for (int i = 0; i < count; i++) scheduler.barriers[static_cast<const char*>(barriers) + 8 * i] = Barrier();
}

void CopyBlock(void* shared, const void* global, int bytes, const void* barrier) {
  if (bytes % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0) Fail("a copied block is not aligned");
  CheckShared(shared, 16);
  CheckShared(static_cast<char*>(shared) + bytes - 16, 16);
  const auto found = scheduler.barriers.find(barrier);
  if (found == scheduler.barriers.end() || found->second.closed) Fail("a barrier that takes no copies");
  const char* from = static_cast<const char*>(global);
  found->second.copies.emplace_back(static_cast<char*>(shared), std::vector<char>(from, from + bytes));
  // Whoever reads too early reads NaN.
  std::memset(shared, 0xff, bytes);
}

void CloseBarrier(const void* barrier) {
  const auto found = scheduler.barriers.find(barrier);
  if (found == scheduler.barriers.end() || found->second.closed) Fail("a barrier that cannot be closed");
  found->second.closed = true;
  scheduler.progress++;
}

void WaitForBarrier(const void* barrier, unsigned phase) {
  const auto found = scheduler.barriers.find(barrier);
  if (found == scheduler.barriers.end()) Fail("a barrier that was not made");
  Barrier& state = found->second;
  while (state.phase == phase && !state.closed) Yield();
  if (state.phase != phase) return;
  for (const auto& [to, bytes] : state.copies) std::memcpy(to, bytes.data(), bytes.size());
  state = Barrier();
  state.phase = phase ^ 1;
  scheduler.progress++;
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

GuardedMemory::GuardedMemory(size_t bytes) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  // The device's memory is aligned to 256 bytes as well; kernels round nothing below 16.
  const size_t rounded = (bytes + 15) / 16 * 16, pages = (rounded + page - 1) / page * page;
  mapped_bytes_ = pages + 2 * page;
  void* mapped = mmap(nullptr, mapped_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  mapped_ = static_cast<char*>(mapped);
  mprotect(mapped_ + page, pages, PROT_READ | PROT_WRITE);
  data_ = mapped_ + page + pages - rounded;
  std::memset(mapped_ + page, 0xff, pages);
}

GuardedMemory::~GuardedMemory() { munmap(mapped_, mapped_bytes_); }

}  // namespace emulator
}  // namespace tfjs_lla
