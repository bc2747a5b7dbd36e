// What JavaScript may ask of the GPU.
#pragma once

#include <node_api.h>

namespace tfjs_lla {

// Adds to the exports of the library
//   cudaDevice(): { name: string, major: number, minor: number, driver: number }
//   loadDeviceCode(...files: string[]): string[], the operations that it is whole for
//   startKernelTimes(): void, from where on every kernel is timed
//   takeKernelTimes(): { kernel: string, milliseconds: number }[], of all kernels since, in order; it waits for them
// All throw what the driver, or the lack of one, has to say.
void ExportCuda(napi_env env, napi_value exports);

}  // namespace tfjs_lla
