#include "common/checkpoint/hugging_face_export.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"
#include "common/checkpoint/replace_directory.h"
#include "common/tensor/model_weights.h"

namespace retort::checkpoint {
namespace {

constexpr int64_t kMaxTokenizerFileBytes = int64_t{1} << 30;

// What a tokenizer may consist of; whichever of them exist are copied.
constexpr const char* kTokenizerFiles[] = {"tokenizer.json",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "added_tokens.json",
                                           "vocab.json",
                                           "merges.txt",
                                           "tokenizer.model",
                                           "chat_template.jinja"};

absl::Status CopyTokenizer(const std::string& from, const std::string& to) {
  for (const char* name : kTokenizerFiles) {
    const std::string source = absl::StrCat(from, "/", name);
    if (!FileExists(source)) continue;
    RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(source, kMaxTokenizerFileBytes));
    RETORT_RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(to, "/", name), text));
  }
  return absl::OkStatus();
}

absl::Status FsyncFile(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, path);
  if (fsync(fd.get()) != 0) return ErrnoError(errno, absl::StrCat(path, ": fsync"));
  return absl::OkStatus();
}

absl::Status Stage(const std::string& staging, const layout::ModelConfig& config,
                   const tensor::ParameterArena& arena, const std::string& tokenizer_folder) {
  RETORT_RETURN_IF_ERROR(MakeDirectories(staging));
  RETORT_RETURN_IF_ERROR(
      WriteFileDurably(absl::StrCat(staging, "/config.json"), layout::ModelConfigJson(config)));
  RETORT_RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(staging, "/generation_config.json"),
                                          layout::GenerationConfigJson(config)));
  RETORT_RETURN_IF_ERROR(tensor::WriteModelWeights(staging, arena));
  RETORT_RETURN_IF_ERROR(FsyncFile(absl::StrCat(staging, "/model.safetensors")));
  RETORT_RETURN_IF_ERROR(CopyTokenizer(tokenizer_folder, staging));
  return FsyncDirectory(staging);
}

}  // namespace

absl::Status ExportHuggingFace(const std::string& folder, const layout::ModelConfig& config,
                               const tensor::ParameterArena& arena,
                               const std::string& tokenizer_folder) {
  if (!at::isfinite(arena.Published()).all().item<bool>()) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder, ": not written, a weight is NaN or infinite"));
  }
  const std::string staging = absl::StrCat(folder, ".tmp-export");
  RETORT_RETURN_IF_ERROR(RemoveRecursively(staging));
  absl::Status status = Stage(staging, config, arena, tokenizer_folder);
  if (status.ok()) status = Failpoint("export.rename");
  if (status.ok()) return ReplaceDirectory(staging, folder);
  // The error that stopped the export is the one to report; what was staged is garbage either way.
  RemoveRecursively(staging).IgnoreError();
  return status;
}

}  // namespace retort::checkpoint
