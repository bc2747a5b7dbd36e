// What the host starts for a call, for kernels that take one struct of parameters. No CUDA header.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace tfjs_lla {

template <class Params>
struct KernelLaunch {
  std::string entry;
  int64_t blocks;
  int threads;
  int shared_bytes;
  Params params;
};

template <class Params>
struct LaunchPlan {
  int64_t scratch_bytes = 0;
  std::vector<KernelLaunch<Params>> launches;
};

// Lays out scratch memory and collects launches.
template <class Params>
class LaunchList {
 public:
  // `scratch`: null to ask for its size only.
  explicit LaunchList(char* scratch) : scratch_(scratch) {}

 protected:
  static int DivideUp(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

  template <class T = float>
  T* Take(int64_t count) {
    T* at = scratch_ ? reinterpret_cast<T*>(scratch_ + plan_.scratch_bytes) : nullptr;
    plan_.scratch_bytes += (count * static_cast<int64_t>(sizeof(T)) + 255) / 256 * 256;
    return at;
  }

  void Add(const std::string& name, int64_t blocks, int threads, int64_t shared_bytes, const Params& params) {
    if (blocks > INT32_MAX) throw std::invalid_argument("too many rows for one call of a CUDA kernel");
    plan_.launches.push_back({"tfjs_lla_" + name, blocks, threads, static_cast<int>(shared_bytes), params});
  }

  LaunchPlan<Params> plan_;

 private:
  char* scratch_;
};

// The same for a call whose launches take the parameters as they are by then.
template <class Params>
class LaunchPlanner : protected LaunchList<Params> {
 public:
  // `call`: inputs, outputs, sizes and options are set.
  LaunchPlanner(const Params& call, char* scratch) : LaunchList<Params>(scratch), params_(call) {}

 protected:
  void Add(const std::string& name, int64_t blocks, int threads, int64_t shared_bytes) {
    LaunchList<Params>::Add(name, blocks, threads, shared_bytes, params_);
  }

  Params params_;
};

}  // namespace tfjs_lla
