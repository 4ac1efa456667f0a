// Weights of a Hugging Face folder, written one tensor at a time: any of the three dtypes, one file
// or several.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/layout/weight_files.h"
#include "common/tensor/parameter_arena.h"

namespace retort::tensor {

struct OutgoingTensor {
  std::string name;
  std::string dtype;  // "F32", "BF16" or "F16".
  std::vector<int64_t> shape;
  // fp32, contiguous, of `shape`. Called once, when its turn has come.
  std::function<absl::StatusOr<at::Tensor>()> read;

  int64_t bytes() const;
};

// Tensors of a folder as its files hold them; `dtype` empty: that of each. `weights` outlives them.
std::vector<OutgoingTensor> OutgoingTensors(const layout::ResolvedWeights& weights,
                                            const std::string& dtype);

// Every part of an arena of fp32, the value head's left out.
std::vector<OutgoingTensor> OutgoingTensors(const ParameterArena& arena, const std::string& dtype);

using WriteProgress = std::function<void(int64_t bytes_done, int64_t bytes_in_all)>;

// One file with these tensors in this order, fsynced. Errors: INVALID_ARGUMENT, naming file and
// tensor, for a value that is not finite or that the dtype cannot hold; those of `read` and of
// writing.
absl::Status WriteWeightFile(const std::string& path, absl::Span<const OutgoingTensor> tensors);

struct WeightFileOptions {
  // Tensors fill a file in order until the next would take it beyond this; one that is larger has a
  // file of its own. 0: one file.
  int64_t shard_bytes = 0;
  WriteProgress on_progress;  // May be null. After every tensor.
};

// `folder`/model.safetensors, or model-0000i-of-0000n.safetensors and model.safetensors.index.json,
// under the names of Transformers. Returns how many files hold weights. Not atomic: the caller
// renames the folder. Errors: those of WriteWeightFile.
absl::StatusOr<int64_t> WriteWeightFiles(const std::string& folder,
                                         absl::Span<const OutgoingTensor> tensors,
                                         const WeightFileOptions& options);

}  // namespace retort::tensor
