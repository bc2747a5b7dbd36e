// What TensorFlow's side of every CUDA kernel shares: its stream, its memory, and errors that name the operator.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "common/native/cuda_driver.h"
#include "common/native/op.h"
#include "xla/stream_executor/stream.h"

namespace tfjs_lla {

// One call of an operation on the GPU. What it starts is queued on TensorFlow's stream; nothing waits for it.
class CudaCall {
 public:
  explicit CudaCall(tensorflow::OpKernelContext* context) : context_(context) {
    const auto* device = context->op_device_context();
    if (device == nullptr || device->stream() == nullptr) throw CudaError("TensorFlow gives it no stream of a GPU");
    stream_ = device->stream()->platform_specific_handle().stream;
  }

  // `params` is the one struct that the kernel takes, by value.
  template <typename Params>
  void Launch(const CudaLaunch& launch, const Params& params) {
    static_assert(std::is_trivially_copyable<Params>::value, "a kernel's parameters are copied as bytes");
    LaunchCuda(stream_, launch, &params);
  }

  // Memory on the GPU for the kernels that this call starts, aligned to 256 bytes. Throws std::bad_alloc.
  void* Allocate(int64_t bytes) {
    tensorflow::Tensor memory;
    if (!context_->allocate_temp(tensorflow::DT_UINT8, tensorflow::TensorShape({bytes}), &memory).ok()) {
      throw std::bad_alloc();
    }
    // Given back when the call has queued all it has to: TensorFlow gives it to what comes later on the same stream.
    kept_.push_back(memory);
    return memory.flat<uint8_t>().data();
  }

 private:
  tensorflow::OpKernelContext* context_;
  void* stream_;
  std::vector<tensorflow::Tensor> kept_;
};

// What the kernels count in is an int.
inline int Count(int64_t count) {
  if (count > INT32_MAX) throw std::invalid_argument(std::to_string(count) + " is more than a CUDA kernel takes");
  return static_cast<int>(count);
}

// Runs `launch(call)` unless something is wrong by now.
template <typename Launch>
void RunOnGpu(tensorflow::OpKernelContext* context, const char* op, const absl::Status& status, Launch launch) {
  if (!status.ok()) return context->CtxFailure(status);
  try {
    CudaCall call(context);
    launch(call);
  } catch (const CudaError& error) {
    context->CtxFailure(absl::InternalError(absl::StrCat(op, ": ", error.what())));
  } catch (const std::invalid_argument& error) {
    context->CtxFailure(absl::InvalidArgumentError(absl::StrCat(op, ": ", error.what())));
  } catch (const std::bad_alloc&) {
    context->CtxFailure(absl::ResourceExhaustedError(absl::StrCat(op, ": out of memory on the GPU")));
  }
}

// The kernel for the GPU of an operation that has none: without it TensorFlow would copy all inputs to the host, run the
// kernel for the processor, and lose what a step writes into a cache.
class RefusingOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    context->CtxFailure(absl::UnimplementedError(
        absl::StrCat(type_string(), ": has no CUDA kernel, and does not run on a GPU by copies to the processor")));
  }
};

}  // namespace tfjs_lla

#define TFJS_LLA_REFUSE_GPU(op) REGISTER_KERNEL_BUILDER(Name(op).Device(tensorflow::DEVICE_GPU), tfjs_lla::RefusingOp)
