#include "common/checkpoint/writer.h"

#include <map>
#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/folder_name.h"
#include "common/checkpoint/replace_directory.h"
#include "common/tensor/tensor_file.h"

namespace retort::checkpoint {
namespace {

absl::Status CheckFlat(const char* name, const at::Tensor& tensor, int64_t elements) {
  if (tensor.defined() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous() &&
      tensor.dim() == 1 && tensor.numel() == elements) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(name, " is no contiguous float32 tensor of ",
                                                 elements,
                                                 " elements: the caller's slice is wrong"));
}

// Writes one file of the staging folder and says what it holds.
absl::StatusOr<FileRecord> WriteTensors(const CheckpointTarget& target, const std::string& name,
                                        const tensor::TensorMap& tensors) {
  tensor::WrittenFile written;
  RETORT_RETURN_IF_ERROR(tensor::WriteTensorFile(absl::StrCat(StagingFolder(target), "/", name),
                                                 tensors, {}, &written));
  return FileRecord{name, written.bytes, written.digest};
}

// The staging folder holds the manifest's files in their sizes and nothing else.
absl::Status CheckStagedFiles(const std::string& folder, const Manifest& manifest) {
  std::map<std::string, int64_t> expected;
  for (const ShardRecord& shard : manifest.shards) expected[shard.file.name] = shard.file.bytes;
  for (const VersionRecord& version : manifest.versions) {
    expected[version.file.name] = version.file.bytes;
  }
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(folder));
  for (const std::string& name : names) {
    const auto it = expected.find(name);
    if (it == expected.end()) {
      return absl::FailedPreconditionError(
          absl::StrCat(folder, "/", name, ": not in the manifest; another writer is at work"));
    }
    RETORT_ASSIGN_OR_RETURN(const int64_t bytes, FileSize(absl::StrCat(folder, "/", name)));
    if (bytes != it->second) {
      return absl::DataLossError(
          absl::StrCat(folder, "/", name, ": ", bytes, " bytes, its writer reported ", it->second));
    }
    expected.erase(it);
  }
  if (expected.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(folder, "/", expected.begin()->first,
                                          ": missing, though its writer reported it"));
}

}  // namespace

std::string StagingFolder(const CheckpointTarget& target) {
  return absl::StrCat(target.directory, "/", CheckpointName(target.step), kStagingInfix,
                      target.epoch);
}

absl::Status BeginCheckpoint(const CheckpointTarget& target) {
  RETORT_RETURN_IF_ERROR(MakeDirectories(target.directory));
  RETORT_RETURN_IF_ERROR(AbandonCheckpoint(target));
  return MakeDirectories(StagingFolder(target));
}

absl::Status AbandonCheckpoint(const CheckpointTarget& target) {
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(target.directory));
  for (const std::string& name : names) {
    if (StagedStep(name) == target.step) {
      RETORT_RETURN_IF_ERROR(RemoveRecursively(absl::StrCat(target.directory, "/", name)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ShardRecord> WriteShard(const CheckpointTarget& target, int rank, int world_size,
                                       int64_t total_elements, const ShardTensors& tensors) {
  ShardRecord record;
  record.range = SliceOf(total_elements, rank, world_size);
  RETORT_RETURN_IF_ERROR(CheckFlat("params", tensors.params, record.range.size()));
  RETORT_RETURN_IF_ERROR(CheckFlat("exp_avg", tensors.exp_avg, record.range.size()));
  RETORT_RETURN_IF_ERROR(CheckFlat("exp_avg_sq", tensors.exp_avg_sq, record.range.size()));
  RETORT_RETURN_IF_ERROR(Failpoint("checkpoint.shard"));
  RETORT_ASSIGN_OR_RETURN(
      record.file,
      WriteTensors(target, absl::StrCat("shard-", rank, "-of-", world_size, ".safetensors"),
                   {{"params", tensors.params},
                    {"exp_avg", tensors.exp_avg},
                    {"exp_avg_sq", tensors.exp_avg_sq}}));
  RETORT_RETURN_IF_ERROR(Failpoint("checkpoint.shard_written"));
  return record;
}

absl::StatusOr<VersionRecord> WriteWeightVersion(const CheckpointTarget& target, int64_t version,
                                                 const Digest& digest,
                                                 const at::Tensor& published) {
  RETORT_RETURN_IF_ERROR(CheckFlat("published", published, published.numel()));
  if (DigestOf(published.const_data_ptr(), published.nbytes()) != digest) {
    return absl::FailedPreconditionError(
        absl::StrCat("weights of version ", version, " do not have the digest ", digest.ToHex()));
  }
  RETORT_RETURN_IF_ERROR(Failpoint("checkpoint.version"));
  VersionRecord record;
  record.version = version;
  record.weight_digest = digest;
  RETORT_ASSIGN_OR_RETURN(record.file,
                          WriteTensors(target, absl::StrCat("version-", version, ".safetensors"),
                                       {{"published", published}}));
  return record;
}

absl::StatusOr<Digest> CommitCheckpoint(const CheckpointTarget& target, const Manifest& manifest) {
  const std::string staging = StagingFolder(target);
  const std::string path = absl::StrCat(staging, "/", kManifestName);
  const std::string text = EncodeManifest(manifest);
  RETORT_ASSIGN_OR_RETURN(const Manifest reread, DecodeManifest(text, path));
  if (!(reread == manifest) || manifest.step != target.step || manifest.epoch != target.epoch) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": step or epoch is not the target's, or a number is not finite"));
  }
  RETORT_RETURN_IF_ERROR(CheckStagedFiles(staging, manifest));
  RETORT_RETURN_IF_ERROR(Failpoint("checkpoint.manifest"));
  RETORT_RETURN_IF_ERROR(WriteFileDurably(path, text));
  RETORT_RETURN_IF_ERROR(FsyncDirectory(staging));
  RETORT_RETURN_IF_ERROR(Failpoint("checkpoint.rename"));
  RETORT_RETURN_IF_ERROR(
      ReplaceDirectory(staging, absl::StrCat(target.directory, "/", CheckpointName(target.step))));
  RETORT_RETURN_IF_ERROR(Failpoint("checkpoint.committed"));
  return DigestOf(text);
}

}  // namespace retort::checkpoint
