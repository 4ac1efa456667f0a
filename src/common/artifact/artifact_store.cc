#include "common/artifact/artifact_store.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace retort::artifact {
namespace {

constexpr size_t kMaxIdBytes = 128;
constexpr size_t kMaxArtifactBytes = size_t{4} << 30;

}  // namespace

absl::StatusOr<StoredArtifact> ArtifactStore::Put(int64_t step, const std::string& id,
                                                  std::string bytes) {
  if (id.empty() || id.size() > kMaxIdBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("artifact id of ", id.size(), " bytes; expected 1 to ", kMaxIdBytes));
  }
  if (bytes.size() > kMaxArtifactBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("artifact ", id, ": ", bytes.size(), " bytes; at most ", kMaxArtifactBytes));
  }
  const StoredArtifact stored{DigestOf(bytes), static_cast<int64_t>(bytes.size())};
  auto shared = std::make_shared<const std::string>(std::move(bytes));
  MutexLock lock(&mutex_);
  const auto found = held_.find(id);
  if (found != held_.end()) {
    if (found->second.stored.digest == stored.digest) {
      found->second.step = std::max(found->second.step, step);
      return stored;
    }
    return absl::DataLossError(
        absl::StrCat("artifact ", id, " was made twice with different bytes (",
                     found->second.stored.digest.ToHex(), ", then ", stored.digest.ToHex(),
                     "); the same bundle must give the same bytes"));
  }
  held_.emplace(id, Held{step, stored, std::move(shared)});
  held_bytes_ += stored.bytes;
  return stored;
}

absl::StatusOr<std::shared_ptr<const std::string>> ArtifactStore::Get(const std::string& id) const {
  MutexLock lock(&mutex_);
  const auto found = held_.find(id);
  if (found == held_.end()) {
    return absl::NotFoundError(absl::StrCat("artifact ", id.substr(0, kMaxIdBytes),
                                            " is not held here (never made, or released)"));
  }
  return found->second.bytes;
}

void ArtifactStore::Release(int64_t up_to_step) {
  // Freed outside the lock: returning gigabytes to the system takes a while.
  std::vector<std::shared_ptr<const std::string>> freed;
  MutexLock lock(&mutex_);
  for (auto it = held_.begin(); it != held_.end();) {
    if (up_to_step != -1 && it->second.step > up_to_step) {
      ++it;
      continue;
    }
    held_bytes_ -= it->second.stored.bytes;
    freed.push_back(std::move(it->second.bytes));
    held_.erase(it++);
  }
}

int64_t ArtifactStore::held_bytes() const {
  MutexLock lock(&mutex_);
  return held_bytes_;
}

int64_t ArtifactStore::held_artifacts() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(held_.size());
}

}  // namespace retort::artifact
