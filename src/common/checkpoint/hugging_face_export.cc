#include "common/checkpoint/hugging_face_export.h"

#include <functional>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/staged_folder.h"
#include "common/tensor/model_weights.h"

namespace retort::checkpoint {
namespace {

absl::Status Stage(const std::string& staging, const layout::ModelConfig& config,
                   const tensor::ParameterArena& arena, const std::string& tokenizer_folder) {
  RETORT_RETURN_IF_ERROR(
      WriteFileDurably(absl::StrCat(staging, "/config.json"), layout::ModelConfigJson(config)));
  RETORT_RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(staging, "/generation_config.json"),
                                          layout::GenerationConfigJson(config)));
  RETORT_RETURN_IF_ERROR(tensor::WriteModelWeights(staging, arena));
  return CopyTokenizer(tokenizer_folder, staging);
}

absl::Status StageAdapter(const std::string& staging, const layout::ModelConfig& base,
                          const layout::AdapterConfig& config,
                          const tensor::ParameterArena& arena) {
  RETORT_RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(staging, "/adapter_config.json"),
                                          layout::AdapterConfigJson(config, base)));
  return tensor::WriteAdapterWeights(staging, arena);
}

// `stage` fills the staging folder; it takes the place of `folder` if every weight is finite.
absl::Status Export(const std::string& folder, const tensor::ParameterArena& arena,
                    const std::function<absl::Status(const std::string& staging)>& stage) {
  if (at::isfinite(arena.Published()).all().item<bool>()) {
    return WriteStagedFolder(folder, ExistingFolder::kReplaced, stage);
  }
  return absl::FailedPreconditionError(
      absl::StrCat(folder, ": not written, a weight is NaN or infinite"));
}

}  // namespace

absl::Status ExportHuggingFace(const std::string& folder, const layout::ModelConfig& config,
                               const tensor::ParameterArena& arena,
                               const std::string& tokenizer_folder) {
  return Export(folder, arena, [&](const std::string& staging) {
    return Stage(staging, config, arena, tokenizer_folder);
  });
}

absl::Status ExportAdapter(const std::string& folder, const layout::ModelConfig& base,
                           const layout::AdapterConfig& config,
                           const tensor::ParameterArena& arena) {
  return Export(folder, arena, [&](const std::string& staging) {
    return StageAdapter(staging, base, config, arena);
  });
}

}  // namespace retort::checkpoint
