// What Node wants of the library: loading it registers the operations. It exports the name of the instruction set that
// the processor's kernels use, and what there is to ask of a GPU.
#include <node_api.h>
#include <stdlib.h>
#include <string.h>

#include "common/native/cuda_exports.h"
#include "common/native/isa.h"

namespace tfjs_lla {

int ProcessorLevel() {
  static const int level = [] {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    const int found = avx512 ? 2 : avx2 ? 1 : 0;
    const char* most = getenv("TFJS_LLA_MAX_ISA");
    if (most == nullptr) return found;
    const int allowed = strcmp(most, "generic") == 0 ? 0 : strcmp(most, "avx2") == 0 ? 1 : 2;
    return found < allowed ? found : allowed;
  }();
  return level;
}

}  // namespace tfjs_lla

extern "C" __attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  const char* const names[] = {"SSE2", "AVX2", "AVX-512"};
  napi_value name;
  if (napi_create_string_utf8(env, names[tfjs_lla::ProcessorLevel()], NAPI_AUTO_LENGTH, &name) == napi_ok) {
    napi_set_named_property(env, exports, "instructionSet", name);
  }
  tfjs_lla::ExportCuda(env, exports);
  return exports;
}
extern "C" __attribute__((visibility("default"))) int32_t node_api_module_get_api_version_v1() { return 8; }
