#include "common/native/cuda_exports.h"

#include "common/native/cuda_driver.h"

namespace tfjs_lla {
namespace {

// A call of Node's interface failed: Node keeps the reason.
class NodeError : public std::runtime_error {
 public:
  NodeError() : std::runtime_error("a value cannot be passed between JavaScript and C++") {}
};

void Check(napi_status status) {
  if (status != napi_ok) throw NodeError();
}

napi_value Number(napi_env env, int number) {
  napi_value value;
  Check(napi_create_int32(env, number, &value));
  return value;
}

napi_value Text(napi_env env, const std::string& text) {
  napi_value value;
  Check(napi_create_string_utf8(env, text.data(), text.size(), &value));
  return value;
}

std::string TextOf(napi_env env, napi_value value) {
  size_t length;
  Check(napi_get_value_string_utf8(env, value, nullptr, 0, &length));
  std::string text(length + 1, '\0');
  Check(napi_get_value_string_utf8(env, value, &text[0], text.size(), &length));
  text.resize(length);
  return text;
}

napi_value DescribeDevice(napi_env env, napi_callback_info) {
  const CudaDevice device = FindCudaDevice();
  napi_value result;
  Check(napi_create_object(env, &result));
  Check(napi_set_named_property(env, result, "name", Text(env, device.name)));
  Check(napi_set_named_property(env, result, "major", Number(env, device.major)));
  Check(napi_set_named_property(env, result, "minor", Number(env, device.minor)));
  Check(napi_set_named_property(env, result, "driver", Number(env, device.driver)));
  return result;
}

napi_value Load(napi_env env, napi_callback_info info) {
  size_t count = 0;
  Check(napi_get_cb_info(env, info, &count, nullptr, nullptr, nullptr));
  std::vector<napi_value> arguments(count);
  Check(napi_get_cb_info(env, info, &count, arguments.data(), nullptr, nullptr));
  std::vector<std::string> files;
  for (napi_value argument : arguments) files.push_back(TextOf(env, argument));
  const std::vector<std::string> operations = LoadDeviceCode(files);
  napi_value result;
  Check(napi_create_array_with_length(env, operations.size(), &result));
  for (size_t i = 0; i < operations.size(); i++) {
    Check(napi_set_element(env, result, static_cast<uint32_t>(i), Text(env, operations[i])));
  }
  return result;
}

napi_value StartTimes(napi_env, napi_callback_info) {
  StartKernelTimes();
  return nullptr;
}

napi_value TakeTimes(napi_env env, napi_callback_info) {
  const std::vector<KernelTime> times = TakeKernelTimes();
  napi_value result;
  Check(napi_create_array_with_length(env, times.size(), &result));
  for (size_t i = 0; i < times.size(); i++) {
    napi_value time, milliseconds;
    Check(napi_create_object(env, &time));
    Check(napi_create_double(env, times[i].milliseconds, &milliseconds));
    Check(napi_set_named_property(env, time, "kernel", Text(env, times[i].kernel)));
    Check(napi_set_named_property(env, time, "milliseconds", milliseconds));
    Check(napi_set_element(env, result, static_cast<uint32_t>(i), time));
  }
  return result;
}

// No exception may leave C++.
template <napi_value (*kFunction)(napi_env, napi_callback_info)>
napi_value Guarded(napi_env env, napi_callback_info info) {
  try {
    return kFunction(env, info);
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
    return nullptr;
  }
}

template <napi_value (*kFunction)(napi_env, napi_callback_info)>
void Export(napi_env env, napi_value exports, const char* name) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, Guarded<kFunction>, nullptr, &function) == napi_ok) {
    napi_set_named_property(env, exports, name, function);
  }
}

}  // namespace

void ExportCuda(napi_env env, napi_value exports) {
  Export<DescribeDevice>(env, exports, "cudaDevice");
  Export<Load>(env, exports, "loadDeviceCode");
  Export<StartTimes>(env, exports, "startKernelTimes");
  Export<TakeTimes>(env, exports, "takeKernelTimes");
}

}  // namespace tfjs_lla
