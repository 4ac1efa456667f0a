#include "common/checkpoint/reader.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"
#include "common/checkpoint/folder_name.h"
#include "common/tensor/tensor_file.h"

namespace retort::checkpoint {
namespace {

constexpr int64_t kMaxManifestBytes = int64_t{64} << 20;
constexpr int64_t kReadBytes = int64_t{4} << 20;

absl::Status Lost(const std::string& path, const std::string& what) {
  return absl::DataLossError(
      absl::StrCat(path, ": ", what, "; copy it again or use an older checkpoint"));
}

absl::Status VerifyFile(const std::string& folder, const FileRecord& file) {
  const std::string path = absl::StrCat(folder, "/", file.name);
  const absl::StatusOr<UniqueFd> fd = OpenRegularFile(path);
  if (absl::IsNotFound(fd.status())) return Lost(path, "missing");
  if (absl::IsInvalidArgument(fd.status())) return Lost(path, "not a regular file");
  RETORT_RETURN_IF_ERROR(fd.status());
  RETORT_ASSIGN_OR_RETURN(const int64_t bytes, FileSize(path));
  if (bytes != file.bytes) {
    return Lost(path, absl::StrCat(bytes, " bytes, expected ", file.bytes));
  }
  Hasher hasher;
  std::string block(std::min(kReadBytes, std::max<int64_t>(bytes, 1)), '\0');
  for (int64_t offset = 0; offset < bytes; offset += kReadBytes) {
    const int64_t size = std::min(kReadBytes, bytes - offset);
    RETORT_RETURN_IF_ERROR(ReadAt(fd->get(), path, offset, size, block.data()));
    hasher.Update(block.data(), size);
  }
  if (hasher.Finish() == file.digest) return absl::OkStatus();
  return Lost(path, absl::StrCat("digest ", hasher.Finish().ToHex(), ", expected ",
                                 file.digest.ToHex(), ": its contents changed"));
}

// An open shard or version file whose header was checked.
struct TensorFile {
  std::string path;
  UniqueFd fd;
  layout::SafetensorsHeader header;
};

absl::StatusOr<TensorFile> OpenTensorFile(const FoundCheckpoint& checkpoint,
                                          const FileRecord& record) {
  TensorFile file;
  file.path = absl::StrCat(checkpoint.folder, "/", record.name);
  RETORT_ASSIGN_OR_RETURN(file.fd, OpenRegularFile(file.path));
  RETORT_ASSIGN_OR_RETURN(file.header, layout::ReadSafetensorsHeader(file.fd.get(), file.path));
  return file;
}

// Elements [begin, begin + count) of a float32 tensor of `elements` elements into `out`.
absl::Status ReadElements(const TensorFile& file, const char* name, int64_t elements, int64_t begin,
                          int64_t count, float* out) {
  const layout::SafetensorsEntry* entry = file.header.Find(name);
  if (entry == nullptr) return Lost(file.path, absl::StrCat("tensor ", name, " is missing"));
  if (entry->dtype != "F32" || entry->elements != elements) {
    return Lost(file.path,
                absl::StrCat("tensor ", name, " is ", entry->dtype, " with ", entry->elements,
                             " elements, expected F32 with ", elements));
  }
  constexpr int64_t kBytes = sizeof(float);
  return ReadAt(file.fd.get(), file.path, entry->begin + begin * kBytes, count * kBytes, out);
}

absl::Status CheckOut(const at::Tensor& out, int64_t elements) {
  if (!out.defined() ||
      (out.scalar_type() == at::kFloat && out.is_contiguous() && out.numel() == elements)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("checkpoint: the tensor to fill is no contiguous "
                   "float32 of ",
                   elements, " elements"));
}

}  // namespace

absl::StatusOr<FoundCheckpoint> VerifyCheckpoint(const std::string& folder) {
  FoundCheckpoint found;
  found.folder = folder;
  found.name = std::filesystem::path(folder).filename().string();
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(folder));
  const std::string path = absl::StrCat(folder, "/", kManifestName);
  if (!FileExists(path)) return Lost(path, "missing");
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxManifestBytes));
  RETORT_ASSIGN_OR_RETURN(found.manifest, DecodeManifest(text, path));
  if (CommittedStep(found.name).value_or(found.manifest.step) != found.manifest.step) {
    return Lost(path, absl::StrCat("step ", found.manifest.step, " in a folder of another name"));
  }
  std::set<std::string> expected = {kManifestName};
  const auto verify = [&](const FileRecord& file) {
    expected.insert(file.name);
    return VerifyFile(folder, file);
  };
  for (const ShardRecord& shard : found.manifest.shards) {
    RETORT_RETURN_IF_ERROR(verify(shard.file));
  }
  for (const VersionRecord& version : found.manifest.versions) {
    RETORT_RETURN_IF_ERROR(verify(version.file));
  }
  for (const std::string& name : names) {
    if (!expected.contains(name)) {
      return Lost(absl::StrCat(folder, "/", name), "a file that the manifest does not know");
    }
  }
  return found;
}

absl::Status LoadRange(const FoundCheckpoint& checkpoint, const ElementRange& range,
                       const ShardTensors& out) {
  if (range.begin < 0 || range.end < range.begin ||
      range.end > checkpoint.manifest.total_elements) {
    return absl::InvalidArgumentError(absl::StrCat(checkpoint.folder, ": elements [", range.begin,
                                                   ", ", range.end, ") of an arena of ",
                                                   checkpoint.manifest.total_elements));
  }
  const std::pair<const char*, at::Tensor> wanted[] = {
      {"params", out.params}, {"exp_avg", out.exp_avg}, {"exp_avg_sq", out.exp_avg_sq}};
  for (const auto& [name, tensor] : wanted) {
    RETORT_RETURN_IF_ERROR(CheckOut(tensor, range.size()));
  }
  for (const ShardRecord& shard : checkpoint.manifest.shards) {
    const int64_t begin = std::max(range.begin, shard.range.begin);
    const int64_t end = std::min(range.end, shard.range.end);
    if (begin >= end) continue;
    RETORT_ASSIGN_OR_RETURN(const TensorFile file, OpenTensorFile(checkpoint, shard.file));
    for (const auto& [name, tensor] : wanted) {
      if (!tensor.defined()) continue;
      RETORT_RETURN_IF_ERROR(ReadElements(file, name, shard.range.size(), begin - shard.range.begin,
                                          end - begin,
                                          tensor.data_ptr<float>() + (begin - range.begin)));
    }
  }
  return absl::OkStatus();
}

absl::Status LoadWeightVersion(const FoundCheckpoint& checkpoint, int64_t version, at::Tensor out) {
  const int64_t elements = checkpoint.manifest.published_elements;
  RETORT_RETURN_IF_ERROR(CheckOut(out, elements));
  for (const VersionRecord& record : checkpoint.manifest.versions) {
    if (record.version != version) continue;
    RETORT_ASSIGN_OR_RETURN(const TensorFile file, OpenTensorFile(checkpoint, record.file));
    RETORT_RETURN_IF_ERROR(
        ReadElements(file, "published", elements, 0, elements, out.data_ptr<float>()));
    if (DigestOf(out.const_data_ptr(), out.nbytes()) == record.weight_digest) {
      return absl::OkStatus();
    }
    return Lost(file.path, "the weights do not have the digest of the manifest");
  }
  return absl::NotFoundError(
      absl::StrCat(checkpoint.folder, ": holds no weights of version ", version));
}

}  // namespace retort::checkpoint
