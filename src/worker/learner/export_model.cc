#include "worker/learner/export_model.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/tensor/model_weights.h"

namespace retort::worker {
namespace {

constexpr int64_t kMaxTokenizerBytes = int64_t{64} << 20;

// What a tokenizer may consist of; only the first must be there.
constexpr const char* kTokenizerFiles[] = {"tokenizer.json", "tokenizer_config.json",
                                           "special_tokens_map.json", "added_tokens.json",
                                           "chat_template.jinja"};

absl::Status CopyTokenizer(const std::string& from, const std::string& to) {
  for (const char* name : kTokenizerFiles) {
    const std::string source = absl::StrCat(from, "/", name);
    if (name != kTokenizerFiles[0] && !FileExists(source)) continue;
    RETORT_ASSIGN_OR_RETURN(const std::string contents, ReadFile(source, kMaxTokenizerBytes));
    RETORT_RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(to, "/", name), contents));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ExportModel(const std::string& path, const layout::ModelConfig& config,
                         const tensor::ParameterArena& parameters,
                         const std::string& tokenizer_folder) {
  const std::string staging = absl::StrCat(path, ".tmp");
  RETORT_RETURN_IF_ERROR(RemoveRecursively(staging));
  RETORT_RETURN_IF_ERROR(MakeDirectories(staging));
  RETORT_RETURN_IF_ERROR(
      WriteFileDurably(staging + "/config.json", layout::ModelConfigJson(config)));
  RETORT_RETURN_IF_ERROR(
      WriteFileDurably(staging + "/generation_config.json", layout::GenerationConfigJson(config)));
  RETORT_RETURN_IF_ERROR(tensor::WriteModelWeights(staging, parameters));
  RETORT_RETURN_IF_ERROR(CopyTokenizer(tokenizer_folder, staging));
  RETORT_RETURN_IF_ERROR(FsyncDirectory(staging));
  RETORT_RETURN_IF_ERROR(RemoveRecursively(path));
  return RenameDurably(staging, path);
}

}  // namespace retort::worker
