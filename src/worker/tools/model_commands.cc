#include "worker/tools/model_commands.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/write_output.h"
#include "common/checkpoint/staged_folder.h"
#include "common/layout/weight_files.h"
#include "common/model/adapter.h"
#include "common/tensor/model_weights.h"
#include "common/tensor/torch_process.h"
#include "common/tensor/weight_writer.h"
#include "worker/tools/loaded_model.h"
#include "worker/tools/staging_guard.h"

namespace retort::worker {
namespace {

constexpr int64_t kLongBytes = 1'000'000'000;

struct Dtype {
  const char* name;
  const char* stored;  // In safetensors.
};

constexpr Dtype kDtypes[] = {{"float32", "F32"}, {"bfloat16", "BF16"}, {"float16", "F16"}};

// Empty stays empty.
absl::StatusOr<std::string> StoredDtype(const std::string& name) {
  if (name.empty()) return std::string();
  for (const Dtype& dtype : kDtypes) {
    if (name == dtype.name) return std::string(dtype.stored);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("dtype is ", name, "; expected float32, bfloat16 or float16"));
}

// What config.json says of the tensors: their dtype, float32 if they have several.
std::string DtypeOf(absl::Span<const tensor::OutgoingTensor> tensors) {
  std::set<std::string> stored;
  for (const tensor::OutgoingTensor& tensor : tensors) stored.insert(tensor.dtype);
  for (const Dtype& dtype : kDtypes) {
    if (stored.size() == 1 && *stored.begin() == dtype.stored) return dtype.name;
  }
  return "float32";
}

// The folder's absolute path without a slash at the end; INVALID_ARGUMENT if something is in it.
absl::StatusOr<std::string> NewFolder(const std::string& path) {
  if (path.empty()) return absl::InvalidArgumentError("output is empty; expected a folder");
  std::error_code error;
  std::filesystem::path folder = std::filesystem::absolute(path, error).lexically_normal();
  if (error) return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.message()));
  if (!folder.has_filename()) folder = folder.parent_path();
  if (std::filesystem::is_symlink(folder, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is a link; expected a folder that does not exist yet or is empty"));
  }
  if (!FileExists(folder.string())) return folder.string();
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(folder.string());
  if (names.ok() && names->empty()) return folder.string();
  return absl::InvalidArgumentError(
      absl::StrCat(path, names.ok() ? " is not empty" : " is not a folder",
                   "; expected a folder that does not exist yet or is empty"));
}

// A line for every tenth of much work.
tensor::WriteProgress ProgressTo(std::ostream& progress) {
  return [&progress, tenths = int64_t{0}](int64_t done, int64_t total) mutable {
    const int64_t now = total < kLongBytes ? 0 : done / (total / 10);
    if (now <= tenths) return;
    tenths = now;
    progress << absl::StrFormat("%.1f of %.1f GB written\n", static_cast<double>(done) / 1e9,
                                static_cast<double>(total) / 1e9)
             << std::flush;
  };
}

struct Sources {
  std::string folder;  // Of the files that are copied.
  const layout::ModelConfig& config;
  absl::Span<const tensor::OutgoingTensor> tensors;
};

absl::Status Fill(const std::string& staging, const Sources& from, const OutputOptions& output,
                  std::ostream& progress, int64_t* files) {
  RETORT_RETURN_IF_ERROR(
      checkpoint::CopyFileIfThere(from.folder, staging, "generation_config.json"));
  RETORT_RETURN_IF_ERROR(checkpoint::CopyTokenizer(from.folder, staging));
  RETORT_RETURN_IF_ERROR(
      WriteFileDurably(absl::StrCat(staging, "/config.json"),
                       layout::ModelConfigJson(from.config, output.style, DtypeOf(from.tensors))));
  RETORT_ASSIGN_OR_RETURN(const layout::ModelConfig again, layout::LoadModelConfig(staging));
  if (!(again == from.config)) {
    return absl::UnimplementedError(
        absl::StrCat(from.folder,
                     "/config.json: cannot be said in config style v4 alone; leave "
                     "out --config-style, or use v5"));
  }
  RETORT_ASSIGN_OR_RETURN(*files, tensor::WriteWeightFiles(staging, from.tensors,
                                                           {.shard_bytes = output.shard_bytes,
                                                            .on_progress = ProgressTo(progress)}));
  return absl::OkStatus();
}

absl::Status WriteFolder(const std::string& folder, const Sources& from,
                         const OutputOptions& output, std::ostream& out, std::ostream& progress) {
  int64_t files = 0, parameters = 0, bytes = 0;
  for (const tensor::OutgoingTensor& tensor : from.tensors) {
    bytes += tensor.bytes();
    int64_t elements = 1;
    for (const int64_t size : tensor.shape) elements *= size;
    parameters += elements;
  }
  StagingGuard guard;
  RETORT_RETURN_IF_ERROR(checkpoint::WriteStagedFolder(
      folder, checkpoint::ExistingFolder::kKept, [&](const std::string& staging) {
        guard.Watch(staging);
        return Fill(staging, from, output, progress, &files);
      }));
  return WriteOutput(
      absl::StrCat(output.folder, ": ", parameters, " parameters, ", DtypeOf(from.tensors), ", ",
                   bytes, " bytes in ", files, files == 1 ? " file" : " files", "\n"),
      out);
}

// The dtype that each tensor of the folder has, in the layout's order.
std::vector<std::string> StoredDtypes(const layout::ResolvedWeights& weights) {
  std::vector<std::string> dtypes;
  for (const layout::LocatedTensor& at : weights.tensors) dtypes.push_back(at.entry->dtype);
  return dtypes;
}

}  // namespace

absl::Status InitCommand(const InitOptions& options, std::ostream& out, std::ostream& progress) {
  if (!(options.std > 0 && options.std <= 10)) {
    return absl::InvalidArgumentError(
        absl::StrCat("std is ", options.std, "; expected a number above 0, at most 10"));
  }
  RETORT_ASSIGN_OR_RETURN(const std::string asked, StoredDtype(options.output.dtype));
  RETORT_ASSIGN_OR_RETURN(const std::string folder, NewFolder(options.output.folder));
  RETORT_ASSIGN_OR_RETURN(const layout::ModelConfig config,
                          layout::LoadModelConfig(options.config));
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena arena,
                          tensor::ParameterArena::Allocate(layout::LayoutFor(config, false)));
  tensor::InitializeRandom(options.seed, options.std, &arena);
  const auto tensors = tensor::OutgoingTensors(arena, asked.empty() ? "F32" : asked);
  return WriteFolder(folder, {options.config, config, tensors}, options.output, out, progress);
}

absl::Status ConvertCommand(const ConvertOptions& options, std::ostream& out,
                            std::ostream& progress) {
  RETORT_ASSIGN_OR_RETURN(const std::string asked, StoredDtype(options.output.dtype));
  RETORT_ASSIGN_OR_RETURN(const std::string folder, NewFolder(options.output.folder));
  RETORT_ASSIGN_OR_RETURN(const layout::ModelConfig config, layout::LoadModelConfig(options.model));
  RETORT_ASSIGN_OR_RETURN(
      const layout::ResolvedWeights weights,
      layout::ResolveWeights(options.model, layout::LayoutFor(config, /*value_head=*/false)));
  const auto tensors = tensor::OutgoingTensors(weights, asked);
  return WriteFolder(folder, {options.model, config, tensors}, options.output, out, progress);
}

absl::Status MergeCommand(const MergeOptions& options, std::ostream& out, std::ostream& progress) {
  RETORT_ASSIGN_OR_RETURN(const std::string asked, StoredDtype(options.output.dtype));
  RETORT_ASSIGN_OR_RETURN(const std::string folder, NewFolder(options.output.folder));
  RETORT_ASSIGN_OR_RETURN(const layout::ModelConfig config, layout::LoadModelConfig(options.model));
  const layout::ParameterLayout layout = layout::LayoutFor(config, /*value_head=*/false);
  RETORT_ASSIGN_OR_RETURN(const LoadedAdapter adapter, LoadAdapter(options.adapter, config));
  RETORT_ASSIGN_OR_RETURN(const tensor::ParameterArena base,
                          tensor::ReadModelArena(options.model, layout));
  RETORT_ASSIGN_OR_RETURN(const layout::ResolvedWeights stored,
                          layout::ResolveWeights(options.model, layout));
  RETORT_RETURN_IF_ERROR(
      tensor::CatchTorch([&] { model::MergeAdapter(adapter.layout, adapter.arena, base); }));
  std::vector<tensor::OutgoingTensor> tensors = tensor::OutgoingTensors(base, asked);
  const std::vector<std::string> kept = StoredDtypes(stored);
  RETORT_CHECK(kept.size() == tensors.size());
  for (size_t i = 0; asked.empty() && i < tensors.size(); ++i) tensors[i].dtype = kept[i];
  return WriteFolder(folder, {options.model, config, tensors}, options.output, out, progress);
}

}  // namespace retort::worker
