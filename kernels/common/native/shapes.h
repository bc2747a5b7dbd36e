// Shape functions of the operations of all operators. Query, key and value are the first inputs of each.
#pragma once

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfjs_lla {

// What query, key and value must have in common, as far as it is known.
inline absl::Status CheckShapes(tensorflow::shape_inference::InferenceContext* c) {
  using tensorflow::shape_inference::DimensionHandle;
  using tensorflow::shape_inference::ShapeHandle;
  ShapeHandle query, key, value;
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 3, &query));
  TF_RETURN_IF_ERROR(c->WithRankAtMost(query, 4, &query));
  if (!c->RankKnown(query)) return absl::OkStatus();
  const int rank = c->Rank(query);
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), rank, &key));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), rank, &value));
  DimensionHandle merged;
  for (int axis = 0; axis < rank - 2; axis++) {
    TF_RETURN_IF_ERROR(c->Merge(c->Dim(query, axis), c->Dim(key, axis), &merged));
    TF_RETURN_IF_ERROR(c->Merge(c->Dim(query, axis), c->Dim(value, axis), &merged));
  }
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(query, rank - 1), c->Dim(key, rank - 1), &merged));
  return c->Merge(c->Dim(key, rank - 2), c->Dim(value, rank - 2), &merged);
}

// [..., Tq, Dv]; a second output, the probe, has query's shape.
inline absl::Status ResultShape(tensorflow::shape_inference::InferenceContext* c) {
  TF_RETURN_IF_ERROR(CheckShapes(c));
  tensorflow::shape_inference::ShapeHandle result = c->UnknownShape();
  if (c->RankKnown(c->input(0)) && c->RankKnown(c->input(2))) {
    TF_RETURN_IF_ERROR(c->ReplaceDim(c->input(0), -1, c->Dim(c->input(2), -1), &result));
  }
  c->set_output(0, result);
  if (c->num_outputs() > 1) c->set_output(1, c->input(0));
  return absl::OkStatus();
}

// Gradients have the shapes of the first inputs; of the optional ones it is not said.
inline absl::Status GradientShapes(tensorflow::shape_inference::InferenceContext* c) {
  TF_RETURN_IF_ERROR(CheckShapes(c));
  for (int i = 0; i < c->num_outputs(); i++) c->set_output(i, i < 3 ? c->input(i) : c->UnknownShape());
  return absl::OkStatus();
}

}  // namespace tfjs_lla
