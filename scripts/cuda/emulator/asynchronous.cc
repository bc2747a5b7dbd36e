// What threads start and wait for later: products of a warpgroup, and copies.
#include <algorithm>

#include "threads.h"

namespace tfjs_lla {
namespace emulator {

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

}  // namespace emulator
}  // namespace tfjs_lla
