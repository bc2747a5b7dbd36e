// What the TensorFlow operations of all operators share: their inputs, checked, and their cores and memory.
#pragma once

#include <atomic>
#include <new>
#include <string>
#include <vector>

#include "common/native/probe_options.h"
#include "common/native/problem.h"
#include "common/native/shapes.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfjs_lla {

// TensorFlow's thread pool and allocator.
class TensorflowExecutor : public Executor {
 public:
  explicit TensorflowExecutor(tensorflow::OpKernelContext* context)
      : context_(context), threads_(context->device()->tensorflow_cpu_worker_threads()) {}

  int workers() const override { return threads_->num_threads; }

  void* Allocate(int64_t bytes) override {
    tensorflow::Tensor memory;
    const tensorflow::TensorShape shape({bytes + 64});
    if (!context_->allocate_temp(tensorflow::DT_UINT8, shape, &memory).ok()) throw std::bad_alloc();
    kept_.push_back(memory);
    const uintptr_t start = reinterpret_cast<uintptr_t>(memory.flat<uint8_t>().data());
    return reinterpret_cast<void*>((start + 63) / 64 * 64);
  }

  void Run(int64_t tasks, void (*body)(void*, int, int64_t), void* body_context) override {
    std::atomic<int64_t> next{0};
    auto work = [&](int64_t first, int64_t last) {
      for (int64_t worker = first; worker < last; worker++) {
        for (int64_t task = next++; task < tasks; task = next++) body(body_context, static_cast<int>(worker), task);
      }
    };
    const int64_t count = std::min<int64_t>(tasks, workers());
    if (count == 1) return work(0, 1);
    // One block per worker: the cost is more than a block may have.
    threads_->workers->ParallelFor(count, int64_t{1} << 40, work);
  }

 private:
  tensorflow::OpKernelContext* context_;
  const tensorflow::DeviceBase::CpuWorkerThreads* threads_;
  std::vector<tensorflow::Tensor> kept_;
};

// The inputs of a call, by name; the first thing that is wrong with them becomes `status`.
class Inputs {
 public:
  Inputs(tensorflow::OpKernelContext* context, const char* op) : context_(context), op_(op) {
    // A count of optional inputs that does not fit the inputs is not always refused before.
    const int given = context->num_inputs(), declared = context->op_kernel().num_inputs();
    if (given != declared) {
      status = absl::InvalidArgumentError(absl::StrCat(op, ": takes ", declared, " inputs as called, got ", given));
      return;
    }
    query_ = Shape("query");
    const tensorflow::TensorShape key = Shape("key"), value = Shape("value");
    const int rank = query_.dims();
    if (!Check(rank == 3 || rank == 4, "query", "must have rank 3 or 4", query_)) return;
    if (!Check(key.dims() == rank, "key", "must have the rank of query", key)) return;
    if (!Check(value.dims() == rank, "value", "must have the rank of query", value)) return;
    for (int axis = 0; axis < rank - 2; axis++) {
      if (!Check(key.dim_size(axis) == query_.dim_size(axis), "key", "must have query's leading dimensions", key)) return;
      const bool fits = value.dim_size(axis) == query_.dim_size(axis);
      if (!Check(fits, "value", "must have query's leading dimensions", value)) return;
    }
    if (!Check(key.dim_size(rank - 1) == query_.dim_size(rank - 1), "key", "must have query's last dimension", key)) return;
    if (!Check(value.dim_size(rank - 2) == key.dim_size(rank - 2), "value", "must be as long as key", value)) return;
    const tensorflow::TensorShape* const shapes[] = {&query_, &key, &value};
    for (const auto* shape : shapes) {
      if (!Check(shape->num_elements() > 0, "query, key and value", "must have no empty axis", *shape)) return;
    }
    Dims& dims = problem.dims;
    dims.batch = query_.dim_size(0);
    dims.heads = rank == 4 ? dims.batch * query_.dim_size(1) : dims.batch;
    dims.Tq = query_.dim_size(rank - 2);
    dims.Tk = key.dim_size(rank - 2);
    dims.D = query_.dim_size(rank - 1);
    dims.Dv = value.dim_size(rank - 1);
    problem.query = Data("query");
    problem.key = Data("key");
    problem.value = Data("value");
    result = query_;
    result.set_dim(rank - 1, dims.Dv);
    tensorflow::OpInputList masks;
    if (!Take(context->input_list("key_mask", &masks))) return;
    if (masks.size() > 0 && Single("key_mask", masks.size())) {
      const bool fits = masks[0].shape() == tensorflow::TensorShape({dims.batch, dims.Tk});
      if (Check(fits, "key_mask", "must have shape [B, Tk]", masks[0].shape())) {
        problem.key_mask = masks[0].flat<bool>().data();
      }
    }
  }

  // An input of floats that is always there, of `count` numbers.
  const float* Required(const char* name, int64_t count) {
    if (!status.ok()) return nullptr;
    const tensorflow::TensorShape shape = Shape(name);
    if (!Check(shape.num_elements() == count, name, "has the wrong number of elements", shape)) return nullptr;
    return Data(name);
  }

  // An input of floats that may be missing, of `count` numbers.
  const float* Optional(const char* name, int64_t count) {
    tensorflow::OpInputList list;
    if (!status.ok() || !Take(context_->input_list(name, &list)) || list.size() == 0) return nullptr;
    if (!Single(name, list.size())) return nullptr;
    const bool fits = list[0].NumElements() == count;
    if (!Check(fits, name, "has the wrong number of elements", list[0].shape())) return nullptr;
    return list[0].flat<float>().data();
  }

  // An input of integers, in the host's memory.
  const int32_t* Integers(const char* name) {
    const tensorflow::Tensor* tensor = nullptr;
    return Take(context_->input(name, &tensor)) ? tensor->flat<int32_t>().data() : nullptr;
  }

  tensorflow::TensorShape Shape(const char* name) {
    const tensorflow::Tensor* tensor = nullptr;
    return Take(context_->input(name, &tensor)) ? tensor->shape() : tensorflow::TensorShape();
  }

  // The shape of an optional input that is there.
  tensorflow::TensorShape OptionalShape(const char* name) {
    tensorflow::OpInputList list;
    return Take(context_->input_list(name, &list)) && list.size() > 0 ? list[0].shape() : tensorflow::TensorShape();
  }

  // Whether something holds of an input of this shape; if not, that is the error.
  bool Expect(bool holds, const char* name, const char* what, const tensorflow::TensorShape& shape) {
    return Check(holds, name, what, shape);
  }

  Problem problem{};
  tensorflow::TensorShape result;  // [..., Tq, Dv]
  absl::Status status;

 private:
  const float* Data(const char* name) {
    const tensorflow::Tensor* tensor = nullptr;
    return Take(context_->input(name, &tensor)) ? tensor->flat<float>().data() : nullptr;
  }

  bool Take(const absl::Status& other) {
    status.Update(other);
    return status.ok();
  }

  // An optional input is a list of one tensor or none.
  bool Single(const char* name, int count) {
    if (count <= 1 || !status.ok()) return status.ok();
    status = absl::InvalidArgumentError(absl::StrCat(op_, ": ", name, " must be one tensor, got ", count));
    return false;
  }

  bool Check(bool holds, const char* name, const char* what, const tensorflow::TensorShape& shape) {
    if (holds || !status.ok()) return status.ok();
    status = absl::InvalidArgumentError(absl::StrCat(op_, ": ", name, " ", what, ", got shape ", shape.DebugString()));
    return false;
  }

  tensorflow::OpKernelContext* context_;
  const char* op_;
  tensorflow::TensorShape query_;
};

// The outputs of a call, in the order in which they are added; the first that cannot be had becomes `status`.
class Outputs {
 public:
  explicit Outputs(tensorflow::OpKernelContext* context) : context_(context) {}

  float* Add(const tensorflow::TensorShape& shape) {
    tensorflow::Tensor* tensor = nullptr;
    status.Update(context_->allocate_output(next_++, shape, &tensor));
    return status.ok() ? tensor->flat<float>().data() : nullptr;
  }

  absl::Status status;

 private:
  tensorflow::OpKernelContext* context_;
  int next_ = 0;
};

// Runs `compute(executor)` unless something is wrong by now.
template <typename Compute>
void RunOn(tensorflow::OpKernelContext* context, const char* op, const absl::Status& status, Compute compute) {
  if (!status.ok()) return context->CtxFailure(status);
  try {
    TensorflowExecutor executor(context);
    compute(executor);
  } catch (const std::bad_alloc&) {
    context->CtxFailure(absl::ResourceExhaustedError(absl::StrCat(op, ": out of memory")));
  }
}

// Whether `precision` is 'fast'.
inline absl::Status ReadPrecision(tensorflow::OpKernelConstruction* context, bool* fast) {
  std::string precision;
  TF_RETURN_IF_ERROR(context->GetAttr("precision", &precision));
  *fast = precision == "fast";
  return absl::OkStatus();
}

// The attributes of local linear attention's ridge and solver.
inline absl::Status ReadSolver(tensorflow::OpKernelConstruction* context, ProbeOptions* options) {
  float tolerance;
  std::string solver;
  TF_RETURN_IF_ERROR(context->GetAttr("ridge_value", &options->ridge_value));
  TF_RETURN_IF_ERROR(context->GetAttr("tolerance", &tolerance));
  TF_RETURN_IF_ERROR(context->GetAttr("max_iterations", &options->max_iterations));
  TF_RETURN_IF_ERROR(context->GetAttr("solver", &solver));
  options->tolerance = tolerance;
  options->solver = solver == "direct"              ? Solver::kDirect
                    : solver == "conjugateGradient" ? Solver::kConjugateGradient
                                                    : Solver::kAuto;
  return absl::OkStatus();
}

}  // namespace tfjs_lla
