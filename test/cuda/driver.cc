// A stand-in for libcuda.so.1 with one GPU that runs nothing: what the op library asks of a driver, and how it takes a refusal,
// is tested with it where there is none. Its "device code" is text; it has a kernel if it has the kernel's name in it.
#include <string.h>

extern "C" {

int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* version) { return *version = 12040, 0; }
int cuDeviceGet(int* device, int index) { return *device = index, index == 0 ? 0 : 101; }
int cuDeviceGetName(char* name, int length, int) { return strncpy(name, "Stand-in GPU", length), 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) { return *value = attribute == 75 ? 8 : 6, 0; }

// Contexts are only compared.
static void* current = nullptr;
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &current, 0; }
int cuCtxPushCurrent_v2(void* context) { return current = context, 0; }
int cuCtxPopCurrent_v2(void** context) { return *context = current, current = nullptr, 0; }
int cuCtxGetCurrent(void** context) { return *context = current, 0; }

int cuModuleLoadData(void** module, const void* image) {
  *module = const_cast<void*>(image);
  return current == nullptr ? 201 : strncmp(static_cast<const char*>(image), "for another GPU", 15) == 0 ? 209 : 0;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  *function = module;
  return strstr(static_cast<const char*>(module), name) ? 0 : 500;
}
int cuFuncSetAttribute(void*, int, int) { return 0; }
#ifndef TOO_OLD
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**) {
  return 0;
}
#endif
int cuEventCreate(void** event, unsigned) { return *event = &current, 0; }
int cuEventRecord(void*, void*) { return 0; }
int cuEventSynchronize(void*) { return 0; }
int cuEventElapsedTime(float* milliseconds, void*, void*) { return *milliseconds = 0.5f, 0; }
int cuEventDestroy_v2(void*) { return 0; }
int cuGetErrorName(int error, const char** name) {
  return *name = error == 209 ? "CUDA_ERROR_NO_BINARY_FOR_GPU" : "CUDA_ERROR", 0;
}
int cuGetErrorString(int, const char** text) { return *text = "no kernel image is available", 0; }

}  // extern "C"
