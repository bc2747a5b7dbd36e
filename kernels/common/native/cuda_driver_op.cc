#include "common/native/cuda_driver.h"

#include <dlfcn.h>

#include <fstream>
#include <iterator>
#include <map>
#include <mutex>

namespace tfjs_lla {
namespace {

// The types of cuda.h, of which only pointers and numbers pass through here.
using Result = int;
using DeviceId = int;
struct Context;
struct Module;
struct Function;
struct Stream;
struct Event;

constexpr int kSuccess = 0;
constexpr int kNotFound = 500;                      // CUDA_ERROR_NOT_FOUND
constexpr int kCapabilityMajor = 75;                // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
constexpr int kCapabilityMinor = 76;                // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
constexpr int kMaxDynamicSharedBytes = 8;           // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
constexpr uint32_t kSharedBytesWithoutAsking = 48 * 1024;

// The functions of the driver that are used, under the names that libcuda.so.1 exports.
class Driver {
 public:
  static const Driver& Get() {
    static const Driver driver;
    return driver;
  }

  // Throws unless a call went well.
  void Check(Result result, const std::string& what) const {
    if (result == kSuccess) return;
    const char *name = nullptr, *text = nullptr;
    get_error_name(result, &name);
    get_error_string(result, &text);
    throw CudaError(what + ": " + (name ? name : std::to_string(result)) + (text ? std::string(", ") + text : ""));
  }

  Result (*init)(unsigned flags);
  Result (*driver_get_version)(int* version);
  Result (*device_get)(DeviceId* device, int index);
  Result (*device_get_name)(char* name, int length, DeviceId device);
  Result (*device_get_attribute)(int* value, int attribute, DeviceId device);
  Result (*primary_context_retain)(Context** context, DeviceId device);
  Result (*context_push)(Context* context);
  Result (*context_pop)(Context** context);
  Result (*context_get_current)(Context** context);
  Result (*module_load_data)(Module** module, const void* image);
  Result (*module_get_function)(Function** function, Module* module, const char* name);
  Result (*function_set_attribute)(Function* function, int attribute, int value);
  Result (*launch_kernel)(Function* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream* stream, void** params,
                          void** extra);
  Result (*event_create)(Event** event, unsigned flags);
  Result (*event_record)(Event* event, Stream* stream);
  Result (*event_synchronize)(Event* event);
  Result (*event_elapsed_time)(float* milliseconds, Event* start, Event* end);
  Result (*event_destroy)(Event* event);
  Result (*get_error_name)(Result result, const char** name);
  Result (*get_error_string)(Result result, const char** text);

 private:
  Driver() {
    library_ = dlopen("libcuda.so.1", RTLD_NOW);
    if (library_ == nullptr) throw CudaError(std::string("the NVIDIA driver is not there: ") + dlerror());
    Find("cuInit", init);
    Find("cuDriverGetVersion", driver_get_version);
    Find("cuDeviceGet", device_get);
    Find("cuDeviceGetName", device_get_name);
    Find("cuDeviceGetAttribute", device_get_attribute);
    Find("cuDevicePrimaryCtxRetain", primary_context_retain);
    Find("cuCtxPushCurrent_v2", context_push);
    Find("cuCtxPopCurrent_v2", context_pop);
    Find("cuCtxGetCurrent", context_get_current);
    Find("cuModuleLoadData", module_load_data);
    Find("cuModuleGetFunction", module_get_function);
    Find("cuFuncSetAttribute", function_set_attribute);
    Find("cuLaunchKernel", launch_kernel);
    Find("cuEventCreate", event_create);
    Find("cuEventRecord", event_record);
    Find("cuEventSynchronize", event_synchronize);
    Find("cuEventElapsedTime", event_elapsed_time);
    Find("cuEventDestroy_v2", event_destroy);
    Find("cuGetErrorName", get_error_name);
    Find("cuGetErrorString", get_error_string);
    Check(init(0), "the NVIDIA driver does not start");
  }

  template <typename Pointer>
  void Find(const char* name, Pointer& function) {
    function = reinterpret_cast<Pointer>(dlsym(library_, name));
    if (function == nullptr) throw CudaError(std::string("the NVIDIA driver has no ") + name);
  }

  void* library_;
};

struct Entry {
  Function* function;
  uint32_t shared_bytes = kSharedBytesWithoutAsking;  // what it is allowed by now
};

// The device code in one context.
class Program {
 public:
  explicit Program(const std::map<std::string, std::string>& images) {
    const Driver& driver = Driver::Get();
    for (const auto& [file, image] : images) {
      Module* module;
      driver.Check(driver.module_load_data(&module, image.data()), "the device code in " + file + " cannot be loaded");
      modules_.push_back(module);
    }
  }

  // Null where no file has it.
  Entry* Find(const std::string& name) {
    const auto known = entries_.find(name);
    if (known != entries_.end()) return &known->second;
    const Driver& driver = Driver::Get();
    for (Module* module : modules_) {
      Entry entry;
      const Result result = driver.module_get_function(&entry.function, module, name.c_str());
      if (result == kNotFound) continue;
      driver.Check(result, name + " cannot be loaded");
      return &entries_.emplace(name, entry).first->second;
    }
    return nullptr;
  }

 private:
  std::vector<Module*> modules_;
  std::map<std::string, Entry> entries_;
};

// A kernel that is timed.
struct TimedKernel {
  std::string name;
  Event *start, *end;
};

// What is known of the device code.
struct State {
  std::map<std::string, std::vector<std::string>> operations;  // entry points by name, complete once the library is loaded
  std::mutex mutex;                                            // guards what follows
  std::map<std::string, std::string> images;                   // contents by file
  std::map<Context*, Program> programs;
  bool is_timed = false;
  std::vector<TimedKernel> timed;

  static State& Get() {
    static State state;
    return state;
  }

  Program& ProgramOf(Context* context) {
    const auto known = programs.find(context);
    return known != programs.end() ? known->second : programs.emplace(context, Program(images)).first->second;
  }
};

Event* RecordEvent(Stream* stream) {
  const Driver& driver = Driver::Get();
  Event* event;
  driver.Check(driver.event_create(&event, 0), "a kernel cannot be timed");
  driver.Check(driver.event_record(event, stream), "a kernel cannot be timed");
  return event;
}

DeviceId FirstDevice() {
  const Driver& driver = Driver::Get();
  DeviceId device;
  driver.Check(driver.device_get(&device, 0), "the NVIDIA driver shows no GPU");
  return device;
}

// Makes the context that TensorFlow works in current, as long as this lives. It is kept: device code stays loaded in it.
class InPrimaryContext {
 public:
  InPrimaryContext() {
    const Driver& driver = Driver::Get();
    driver.Check(driver.primary_context_retain(&context, FirstDevice()), "the GPU cannot be used");
    driver.Check(driver.context_push(context), "the GPU cannot be used");
  }
  ~InPrimaryContext() { Driver::Get().context_pop(&context); }

  Context* context;
};

}  // namespace

CudaOperation::CudaOperation(std::string name, std::vector<std::string> entry_points) {
  State::Get().operations.emplace(std::move(name), std::move(entry_points));
}

CudaDevice FindCudaDevice() {
  const Driver& driver = Driver::Get();
  const DeviceId id = FirstDevice();
  CudaDevice device;
  char name[256] = "";
  driver.Check(driver.device_get_name(name, sizeof(name), id), "the GPU does not tell its name");
  device.name = name;
  driver.Check(driver.device_get_attribute(&device.major, kCapabilityMajor, id), "the GPU does not tell its capability");
  driver.Check(driver.device_get_attribute(&device.minor, kCapabilityMinor, id), "the GPU does not tell its capability");
  driver.Check(driver.driver_get_version(&device.driver), "the driver does not tell its version");
  return device;
}

std::vector<std::string> LoadDeviceCode(const std::vector<std::string>& files) {
  std::map<std::string, std::string> images;
  for (const std::string& file : files) {
    std::ifstream stream(file, std::ios::binary);
    std::string image{std::istreambuf_iterator<char>(stream), {}};
    if (image.empty()) throw CudaError("the device code " + file + " cannot be read");
    images.emplace(file, std::move(image));
  }
  const InPrimaryContext current;
  Program program(images);
  State& state = State::Get();
  std::vector<std::string> whole;
  for (const auto& [operation, entry_points] : state.operations) {
    bool has_all = true;
    for (const std::string& name : entry_points) has_all = has_all && program.Find(name) != nullptr;
    if (has_all) whole.push_back(operation);
  }
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.images = std::move(images);
  state.programs.clear();
  state.programs.emplace(current.context, std::move(program));
  return whole;
}

void StartKernelTimes() {
  State& state = State::Get();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.is_timed = true;
}

std::vector<KernelTime> TakeKernelTimes() {
  const Driver& driver = Driver::Get();
  State& state = State::Get();
  const InPrimaryContext current;
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.is_timed = false;
  std::vector<KernelTime> times;
  for (const TimedKernel& kernel : state.timed) {
    float milliseconds;
    driver.Check(driver.event_synchronize(kernel.end), kernel.name + " failed");
    driver.Check(driver.event_elapsed_time(&milliseconds, kernel.start, kernel.end), kernel.name + " was not timed");
    times.push_back({kernel.name, milliseconds});
    driver.Check(driver.event_destroy(kernel.start), "an event cannot be given back");
    driver.Check(driver.event_destroy(kernel.end), "an event cannot be given back");
  }
  state.timed.clear();
  return times;
}

void LaunchCuda(void* tensorflow_stream, const CudaLaunch& launch, const void* params) {
  const Driver& driver = Driver::Get();
  State& state = State::Get();
  Stream* const stream = static_cast<Stream*>(tensorflow_stream);
  Context* context = nullptr;
  driver.Check(driver.context_get_current(&context), "the GPU cannot be used");
  if (context == nullptr) throw CudaError("TensorFlow has made no CUDA context current");
  const std::lock_guard<std::mutex> lock(state.mutex);
  Entry* entry = state.ProgramOf(context).Find(launch.kernel);
  if (entry == nullptr) throw CudaError("the device code has no kernel " + launch.kernel);
  if (launch.shared_bytes > entry->shared_bytes) {
    const int bytes = static_cast<int>(launch.shared_bytes);
    driver.Check(driver.function_set_attribute(entry->function, kMaxDynamicSharedBytes, bytes),
                 launch.kernel + " needs " + std::to_string(bytes) + " bytes of shared memory");
    entry->shared_bytes = launch.shared_bytes;
  }
  Event* const start = state.is_timed ? RecordEvent(stream) : nullptr;
  void* all_params[] = {const_cast<void*>(params)};
  const auto& [gx, gy, gz] = launch.grid;
  const auto& [bx, by, bz] = launch.block;
  driver.Check(driver.launch_kernel(entry->function, gx, gy, gz, bx, by, bz, launch.shared_bytes, stream, all_params,
                                    nullptr),
               launch.kernel + " cannot be started");
  if (start != nullptr) state.timed.push_back({launch.kernel, start, RecordEvent(stream)});
}

}  // namespace tfjs_lla
