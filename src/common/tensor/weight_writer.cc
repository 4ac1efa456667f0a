#include "common/tensor/weight_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"
#include "common/layout/safetensors_header.h"
#include "common/tensor/model_weights.h"
#include "common/tensor/tensor_file.h"
#include "common/tensor/torch_process.h"
#include "nlohmann/json.hpp"

namespace retort::tensor {
namespace {

using Tensors = absl::Span<const OutgoingTensor>;

absl::Status NotFinite(const std::string& path, const OutgoingTensor& tensor) {
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": tensor ", tensor.name, " has a value that is not finite as ", tensor.dtype,
      tensor.dtype == "F16" ? ", whose largest is 65504" : "", "; expected finite weights"));
}

// The tensor in its dtype.
absl::StatusOr<at::Tensor> Narrowed(const std::string& path, const OutgoingTensor& tensor) {
  RETORT_ASSIGN_OR_RETURN(const at::ScalarType type, ScalarTypeOf(tensor.dtype));
  RETORT_ASSIGN_OR_RETURN(const at::Tensor wide, tensor.read());
  return CatchTorch([&]() -> absl::StatusOr<at::Tensor> {
    RETORT_CHECK(wide.sizes().vec() == tensor.shape) << tensor.name;
    const at::Tensor stored = wide.to(type).contiguous();
    if (!at::isfinite(stored).all().item<bool>()) return NotFinite(path, tensor);
    return stored.cpu();
  });
}

absl::Status WriteFile(const std::string& path, Tensors tensors,
                       const std::function<void(int64_t)>& on_bytes) {
  std::vector<layout::SafetensorsSpec> specs;
  for (const OutgoingTensor& tensor : tensors) {
    specs.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  const std::string header = layout::EncodeSafetensorsHeader(specs, {{"format", "pt"}});
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return ErrnoError(errno, absl::StrCat("create ", path));
  RETORT_RETURN_IF_ERROR(WriteAll(fd.get(), header, path));
  for (const OutgoingTensor& tensor : tensors) {
    RETORT_ASSIGN_OR_RETURN(const at::Tensor stored, Narrowed(path, tensor));
    const auto* bytes = static_cast<const char*>(stored.const_data_ptr());
    RETORT_RETURN_IF_ERROR(WriteAll(fd.get(), absl::string_view(bytes, stored.nbytes()), path));
    on_bytes(static_cast<int64_t>(stored.nbytes()));
  }
  if (fsync(fd.get()) != 0) return ErrnoError(errno, absl::StrCat("fsync ", path));
  return absl::OkStatus();
}

// Where each file's tensors end.
std::vector<size_t> FileEnds(Tensors tensors, int64_t shard_bytes) {
  std::vector<size_t> ends;
  int64_t filled = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t bytes = tensors[i].bytes();
    if (shard_bytes > 0 && filled > 0 && filled + bytes > shard_bytes) {
      ends.push_back(i);
      filled = 0;
    }
    filled += bytes;
  }
  ends.push_back(tensors.size());
  return ends;
}

std::string FileName(size_t index, size_t files) {
  if (files == 1) return "model.safetensors";
  return absl::StrFormat("model-%05d-of-%05d.safetensors", index + 1, files);
}

}  // namespace

int64_t OutgoingTensor::bytes() const {
  int64_t bytes = layout::SafetensorsElementBytes(dtype);
  for (const int64_t size : shape) bytes *= size;
  return bytes;
}

std::vector<OutgoingTensor> OutgoingTensors(const layout::ResolvedWeights& weights,
                                            const std::string& dtype) {
  std::vector<OutgoingTensor> tensors;
  for (const layout::LocatedTensor& at : weights.tensors) {
    tensors.push_back({at.part.name, dtype.empty() ? at.entry->dtype : dtype, at.part.shape,
                       [&at] { return ReadFileTensor(at); }});
  }
  return tensors;
}

std::vector<OutgoingTensor> OutgoingTensors(const ParameterArena& arena, const std::string& dtype) {
  RETORT_CHECK(arena.type() == at::kFloat)
      << "weights of " << at::toString(arena.type()) << " are only run";
  std::vector<OutgoingTensor> tensors;
  for (const layout::ParameterEntry& entry : arena.layout().entries) {
    if (entry.group == layout::ParameterGroup::kValueHead) continue;
    for (const layout::FileTensor& part : entry.parts) {
      tensors.push_back({part.name, dtype, part.shape, [arena, part] {
                           return CatchTorch([&] { return FileTensorOf(arena, part); });
                         }});
    }
  }
  return tensors;
}

absl::Status WriteWeightFile(const std::string& path, Tensors tensors) {
  return WriteFile(path, tensors, [](int64_t) {});
}

absl::StatusOr<int64_t> WriteWeightFiles(const std::string& folder, Tensors tensors,
                                         const WeightFileOptions& options) {
  int64_t done = 0, total = 0;
  for (const OutgoingTensor& tensor : tensors) total += tensor.bytes();
  const auto on_bytes = [&](int64_t bytes) {
    done += bytes;
    if (options.on_progress != nullptr) options.on_progress(done, total);
  };
  const std::vector<size_t> ends = FileEnds(tensors, options.shard_bytes);
  nlohmann::json shards = nlohmann::json::object();
  for (size_t i = 0, begin = 0; i < ends.size(); begin = ends[i++]) {
    const std::string name = FileName(i, ends.size());
    const Tensors own = tensors.subspan(begin, ends[i] - begin);
    for (const OutgoingTensor& tensor : own) shards[tensor.name] = name;
    RETORT_RETURN_IF_ERROR(WriteFile(absl::StrCat(folder, "/", name), own, on_bytes));
  }
  if (ends.size() > 1) {
    const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", shards}};
    RETORT_RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(folder, "/model.safetensors.index.json"),
                                            DumpJson(index, 2)));
  }
  return static_cast<int64_t>(ends.size());
}

}  // namespace retort::tensor
