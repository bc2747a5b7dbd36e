// A GPU by CUDA's driver, which is opened when it is first asked for: nothing of CUDA is needed to build the op library,
// nor to load it where there is no GPU.
#pragma once

#include <stdint.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace tfjs_lla {

// What the driver, or the lack of one, has to say.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct CudaDevice {
  std::string name;
  int major, minor;  // compute capability
  int driver;        // the newest CUDA that the driver knows: 1000 * major + 10 * minor
};

// How a kernel is started.
struct CudaLaunch {
  std::string kernel;  // entry point
  uint32_t grid[3];    // blocks; the first may be up to 2^31 - 1, the others 65,535
  uint32_t block[3];   // threads
  uint32_t shared_bytes;
};

// Says that an operation has CUDA kernels, and by which entry points they start. One static object per operation.
class CudaOperation {
 public:
  CudaOperation(std::string name, std::vector<std::string> entry_points);
};

// The GPU that TensorFlow computes on: the first one that the driver shows.
CudaDevice FindCudaDevice();

// Takes the device code in these files, compiled for this GPU, in place of what was there; returns the operations that it is
// whole for.
std::vector<std::string> LoadDeviceCode(const std::vector<std::string>& files);

// What one kernel took on the GPU.
struct KernelTime {
  std::string kernel;
  float milliseconds;
};

// From here on every kernel that is started is timed; for measurements.
void StartKernelTimes();

// Waits for the kernels that were timed; their times, in the order in which they were started. Times no more after that.
std::vector<KernelTime> TakeKernelTimes();

// Starts a kernel of that code on a stream of the current context. `params` is the one struct that the kernel takes.
void LaunchCuda(void* stream, const CudaLaunch& launch, const void* params);

}  // namespace tfjs_lla
