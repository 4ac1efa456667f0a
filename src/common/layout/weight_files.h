// Which tensor of which file of a Hugging Face folder fills which part of a layout: everything that
// can be said about weights without computing with them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "common/layout/parameter_layout.h"
#include "common/layout/safetensors_header.h"

namespace retort::layout {

struct WeightFile {
  std::string path;
  UniqueFd fd;
  SafetensorsHeader header;
};

// One part of a layout and its place.
struct LocatedTensor {
  FileTensor part;
  const WeightFile* file = nullptr;
  const SafetensorsEntry* entry = nullptr;
};

// Movable; `tensors` point into `files`.
struct ResolvedWeights {
  std::vector<WeightFile> files;       // Open for reading.
  std::vector<LocatedTensor> tensors;  // In the layout's order.
};

// Opens `folder`/model.safetensors, or the shards that model.safetensors.index.json names, and
// matches their headers with `layout`: every tensor must be there with its shape, as F32, BF16 or
// F16, and nothing else may be, except what ParameterLayout::MayIgnore names, a second copy of tied
// weights, which is compared byte by byte, and the value head: without one in the layout its
// tensors are ignored, with one they may be missing. Errors: NOT_FOUND no weights, or only pickled
// ones; INVALID_ARGUMENT, DATA_LOSS: one line naming file and tensor.
absl::StatusOr<ResolvedWeights> ResolveWeights(const std::string& folder,
                                               const ParameterLayout& layout);

// The same for the adapter in `folder`/adapter_model.safetensors and the parameters of an
// AdapterLayout.
absl::StatusOr<ResolvedWeights> ResolveAdapter(const std::string& folder,
                                               const ParameterLayout& layout);

// The files that ResolveWeights would open, for plans and digests.
absl::StatusOr<std::vector<std::string>> WeightFiles(const std::string& folder);

}  // namespace retort::layout
