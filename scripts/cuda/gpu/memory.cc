// Where kernels run and their memory lies: on a GPU, in place of the emulator (its memory.cc). The device code is that of the
// folder TFJS_LLA_DEVICE_CODE; memory is such as both the processor and the GPU reach.
#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/native/cuda_driver.h"
#include "emulator.h"

namespace tfjs_lla {
namespace emulator {
namespace {

constexpr unsigned kAttachGlobal = 1;  // CU_MEM_ATTACH_GLOBAL

// What the op library leaves to TensorFlow.
class Gpu {
 public:
  static const Gpu& Get() {
    static const Gpu gpu;
    return gpu;
  }

  void Check(int result, const char* what) const {
    if (result == 0) return;
    const char* text = nullptr;
    get_error_string(result, &text);
    throw std::runtime_error(std::string(what) + ": " + (text ? text : std::to_string(result)));
  }

  int (*retain)(void** context, int device);
  int (*make_current)(void* context);
  int (*allocate)(void** memory, size_t bytes, unsigned flags);
  int (*release)(void* memory);
  int (*synchronize)();
  int (*get_error_string)(int result, const char** text);

 private:
  Gpu() {
    const char* const folder = std::getenv("TFJS_LLA_DEVICE_CODE");
    if (folder == nullptr) throw std::runtime_error("TFJS_LLA_DEVICE_CODE has to name the folder of the device code");
    std::vector<std::string> files;
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
      if (file.path().extension() == ".bin") files.push_back(file.path());
    }
    if (files.empty()) throw std::runtime_error(std::string("no .bin file in ") + folder);
    LoadDeviceCode(files);
    library_ = dlopen("libcuda.so.1", RTLD_NOW);
    Find("cuDevicePrimaryCtxRetain", retain);
    Find("cuCtxSetCurrent", make_current);
    Find("cuMemAllocManaged", allocate);
    Find("cuMemFree_v2", release);
    Find("cuCtxSynchronize", synchronize);
    Find("cuGetErrorString", get_error_string);
    void* context;
    Check(retain(&context, 0), "the GPU cannot be used");
    Check(make_current(context), "the GPU cannot be used");
  }

  template <typename Pointer>
  void Find(const char* name, Pointer& function) {
    function = reinterpret_cast<Pointer>(dlsym(library_, name));
    if (function == nullptr) throw std::runtime_error(std::string("the NVIDIA driver has no ") + name);
  }

  void* library_;
};

}  // namespace

const double kBarFactor = 4;

void Run(const KernelCall& call) {
  const Gpu& gpu = Gpu::Get();
  LaunchCuda(nullptr,
             {call.entry,
              {static_cast<uint32_t>(call.blocks), 1, 1},
              {static_cast<uint32_t>(call.threads), 1, 1},
              static_cast<uint32_t>(call.shared_bytes)},
             call.params);
  gpu.Check(gpu.synchronize(), call.entry);
}

GuardedMemory::GuardedMemory(size_t bytes) {
  const Gpu& gpu = Gpu::Get();
  // As in the emulator: kernels round nothing below 16.
  mapped_bytes_ = (bytes + 15) / 16 * 16;
  void* memory;
  gpu.Check(gpu.allocate(&memory, mapped_bytes_ + (mapped_bytes_ == 0), kAttachGlobal), "memory");
  mapped_ = data_ = static_cast<char*>(memory);
  std::memset(data_, 0xff, mapped_bytes_);
}

// After a kernel that failed nothing can be given back, and the program is about to say so.
GuardedMemory::~GuardedMemory() { Gpu::Get().release(mapped_); }

}  // namespace emulator
}  // namespace tfjs_lla
