// The emulator finds what it says it finds, and multiplies as the GPU does.
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/cuda/device.cuh"

namespace {

using namespace tfjs_lla;

int failures = 0;

void Expect(bool good, const char* what) {
  std::printf("%-52s %s\n", what, good ? "ok" : "FAIL");
  failures += !good;
}

void ExpectError(const char* what, int shared_bytes, const std::string& message, const std::function<void()>& kernel) {
  std::string found;
  try {
    emulator::Launch(1, 64, shared_bytes, kernel);
  } catch (const std::runtime_error& error) {
    found = error.what();
  }
  Expect(found.find(message) != std::string::npos, what);
}

void Product() {
  // Row-major a [16, 16], b by columns [8, 16], in shared memory as ldmatrix reads them.
  std::vector<float> found(16 * 8);
  emulator::Launch(1, 32, 1024, [&] {
    const int lane = ThreadIndex();
    _Float16* a = reinterpret_cast<_Float16*>(SharedMemory());
    _Float16* b = a + 256;
    for (int i = lane; i < 256; i += 32) a[i] = static_cast<_Float16>(i % 13 - 6);
    for (int i = lane; i < 128; i += 32) b[i] = static_cast<_Float16>(i % 7 - 3);
    for (int i = 128 + lane; i < 256; i += 32) b[i] = static_cast<_Float16>(0);
    SyncBlock();
    Half2Bits left[4], right[4];
    LoadMatrices(left, a + (lane % 16) * 16 + lane / 16 * 8);
    LoadMatrices(right, b + (lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8);
    float d[4] = {1, 1, 1, 1};
    MultiplyAdd(d, left, right[0], right[1]);
    for (int e = 0; e < 4; e++) found[(lane / 4 + e / 2 * 8) * 8 + lane % 4 * 2 + e % 2] = d[e];
  });
  bool good = true;
  for (int row = 0; row < 16; row++) {
    for (int column = 0; column < 8; column++) {
      int sum = 1;
      for (int k = 0; k < 16; k++) sum += ((row * 16 + k) % 13 - 6) * ((column * 16 + k) % 7 - 3);
      good &= found[row * 8 + column] == sum;
    }
  }
  Expect(good, "a product of tiles");
}

void TensorFloatProduct() {
  std::vector<float> found(16 * 8);
  emulator::Launch(1, 32, 16, [&] {
    const int g = ThreadIndex() / 4, c = ThreadIndex() % 4;
    const auto left = [](int row, int column) { return static_cast<float>((row * 8 + column) % 13 - 6); };
    const auto right = [](int row, int column) { return static_cast<float>((row * 8 + column) % 7 - 3); };
    // What tensor cores drop of a number does not count.
    const float a[4] = {left(g, c) * (1 + 1e-5f), left(g + 8, c), left(g, c + 4), left(g + 8, c + 4)};
    float d[4] = {1, 1, 1, 1};
    MultiplyAddTensorFloat(d, a, right(c, g), right(c + 4, g));
    for (int e = 0; e < 4; e++) found[(g + e / 2 * 8) * 8 + c * 2 + e % 2] = d[e];
  });
  bool good = true;
  for (int row = 0; row < 16; row++) {
    for (int column = 0; column < 8; column++) {
      int sum = 1;
      for (int k = 0; k < 8; k++) sum += ((row * 8 + k) % 13 - 6) * ((k * 8 + column) % 7 - 3);
      good &= found[row * 8 + column] == sum;
    }
  }
  Expect(good, "a product of float32 numbers cut to 11 bits");
  Expect(RoundToTensorFloat(1 + 0x1p-10f + 0x1p-11f) == 1 + 0x1p-9f, "rounding to 11 bits, ties away from zero");
}

void Copies() {
  alignas(16) static const float source[4] = {1, 2, 3, 4};
  bool early = false, late = false, poisoned = false;
  emulator::Launch(1, 32, 16, [&] {
    const float* target = reinterpret_cast<const float*>(SharedMemory());
    if (ThreadIndex() == 0) poisoned = std::isnan(target[3]);
    if (ThreadIndex() == 0) CopyAsync(SharedMemory(), source);
    CommitCopies();
    if (ThreadIndex() == 0) early = target[3] == 4;
    WaitForCopies<0>();
    SyncBlock();
    if (ThreadIndex() == 31) late = target[3] == 4;
  });
  Expect(poisoned, "shared memory that nobody wrote is NaN");
  Expect(!early && late, "a copy is there when it was waited for, not before");
}

void CopiesOfBlocks() {
  alignas(16) static const float source[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  bool early = false, late = true;
  emulator::Launch(1, 32, 64, [&] {
    const float* target = reinterpret_cast<const float*>(SharedMemory());
    CopyBarrier* barrier = reinterpret_cast<CopyBarrier*>(SharedMemory() + 32);
    if (ThreadIndex() == 0) InitBarriers(barrier, 1);
    SyncBlock();
    for (unsigned phase = 0; phase < 3; phase++) {
      if (ThreadIndex() == 0) CopyBlock(SharedMemory(), source, 32, barrier);
      if (ThreadIndex() == 0) early |= target[7] == 8;
      if (ThreadIndex() == 0) CloseBarrier(barrier);
      WaitForBarrier(barrier, phase & 1);
      late &= target[0] == 1 && target[7] == 8;
      SyncBlock();
    }
  });
  Expect(!early && late, "a copied block is there when its barrier was waited for");
}

}  // namespace

int main() {
  Product();
  TensorFloatProduct();
  Copies();
  CopiesOfBlocks();
  ExpectError("lanes that diverge", 16, "diverged", [] {
    if (ThreadIndex() < 5)
      AnyInWarp(true);
    else
      ShuffleXor(1.0f, 1);
  });
  ExpectError("threads that do not come to a barrier", 16, "do not come", [] {
    if (ThreadIndex() < 60) SyncBlock();
  });
  ExpectError("a lane that left", 16, "do not come", [] {
    if (ThreadIndex() != 3) ShuffleXor(1.0f, 1);
  });
  ExpectError("ldmatrix beyond shared memory", 64, "not in shared memory", [] {
    Half2Bits m[4];
    LoadMatrices(m, SharedMemory() + ThreadIndex() * 16);
  });
  ExpectError("a copy to an address that is not aligned", 64, "not aligned", [] {
    alignas(16) static const float source[4] = {};
    CopyAsync(SharedMemory() + 4, source);
  });
  const auto start_block = [](bool close) {
    alignas(16) static const float source[4] = {};
    CopyBarrier* barrier = reinterpret_cast<CopyBarrier*>(SharedMemory() + 16);
    if (ThreadIndex() != 0) return;
    InitBarriers(barrier, 1);
    CopyBlock(SharedMemory(), source, 16, barrier);
    if (close) CloseBarrier(barrier);
  };
  ExpectError("a copied block that nobody waits for", 64, "nobody has waited", [&] { start_block(true); });
  ExpectError("a barrier that is waited for and not closed", 64, "do not come", [&] {
    start_block(false);
    SyncBlock();
    WaitForBarrier(reinterpret_cast<CopyBarrier*>(SharedMemory() + 16), 0);
  });
  ExpectError("a write beyond shared memory", 64, "beyond shared memory", [] { SharedMemory()[64] = 0; });
  return failures == 0 ? 0 : 1;
}
