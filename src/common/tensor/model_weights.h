// A Hugging Face folder's weights into and out of an arena.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/layout/weight_files.h"
#include "common/tensor/parameter_arena.h"

namespace retort::tensor {

// Reads the weights of `folder` straight into `arena`: fp32, bf16 and fp16, widened or, in an arena
// of bf16, rounded to the nearest (what the file has as bf16 stays as it is). What must and
// may be there: layout::ResolveWeights; besides, every value must be finite. A value head that the
// files lack stays as it is. The arena lies on the CPU, for any other device ParameterArena::CopyTo
// comes next. Errors: NOT_FOUND, INVALID_ARGUMENT, DATA_LOSS: one line naming file
// and tensor. The arena's contents are then unspecified.
absl::Status LoadModelWeights(const std::string& folder, ParameterArena* arena);

// The same into a new arena, which is allocated once the files have shown that they hold the
// layout: a config.json that lies about sizes costs no memory. `type`: fp32 or bf16.
absl::StatusOr<ParameterArena> ReadModelArena(const std::string& folder,
                                              layout::ParameterLayout layout,
                                              at::ScalarType type = at::kFloat);

// The same of an adapter (layout::AdapterLayout) in `folder`/adapter_model.safetensors.
absl::Status LoadAdapterWeights(const std::string& folder, ParameterArena* arena);

// The same into a new arena, which is allocated once the file has shown that it holds the layout.
absl::StatusOr<ParameterArena> ReadAdapterArena(const std::string& folder,
                                                layout::ParameterLayout layout);

// A tensor as its file holds it, widened to fp32; every value is finite. Errors: those of
// LoadModelWeights.
absl::StatusOr<at::Tensor> ReadFileTensor(const layout::LocatedTensor& at);

// `part` as a file holds it: part.shape, fp32, contiguous; a copy unless the arena holds it so.
at::Tensor FileTensorOf(const ParameterArena& arena, const layout::FileTensor& part);

// Writes `folder`/model.safetensors: every part of the published prefix in fp32 under its Hugging
// Face name, as Hugging Face stores it. Not atomic: the caller renames the folder.
absl::Status WriteModelWeights(const std::string& folder, const ParameterArena& arena);

// `folder`/adapter_model.safetensors, likewise.
absl::Status WriteAdapterWeights(const std::string& folder, const ParameterArena& arena);

}  // namespace retort::tensor
