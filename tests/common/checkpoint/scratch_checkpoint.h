// A small arena and the checkpoints that tests write of it.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/checkpoint/writer.h"
#include "common/tensor/aten.h"
#include "gtest/gtest.h"

namespace retort::checkpoint {

inline constexpr int64_t kTotal = 100;  // Not a multiple of 16: the last slice is ragged.
inline constexpr int64_t kPublished = 64;

// Contents that follow from the step, so that a mix of two steps shows.
inline at::Tensor Contents(int64_t step, double phase) {
  return (at::arange(kTotal, at::kDouble) * 0.1 + phase + static_cast<double>(step))
      .sin()
      .to(at::kFloat);
}
inline ShardTensors Arena(int64_t step) {
  return {Contents(step, 0), Contents(step, 1), Contents(step, 2)};
}
inline ShardTensors Slice(const ShardTensors& arena, const ElementRange& range) {
  const auto cut = [&](const at::Tensor& x) { return x.slice(0, range.begin, range.end); };
  return {cut(arena.params), cut(arena.exp_avg), cut(arena.exp_avg_sq)};
}
inline at::Tensor Published(int64_t step) { return Contents(step, 0).slice(0, 0, kPublished); }
inline Digest PublishedDigest(int64_t step) {
  const at::Tensor weights = Published(step);
  return DigestOf(weights.const_data_ptr(), weights.nbytes());
}

inline TrainerState State(int64_t step) {
  TrainerState state;
  state.step = step;
  state.optimizer_steps = 3 * step;
  state.bad_steps = 1;
  state.kl_coef = 0.1 + 1e-17 * static_cast<double>(step) + 1.0 / 3;
  state.score_moments = {0.7, 1.0 / 7, 0.4, 12};
  state.weight_digest = PublishedDigest(step);
  return state;
}

// All ranks of one save, one after the other.
inline absl::Status Save(const CheckpointTarget& target, int world_size,
                         const std::vector<int64_t>& versions = {}) {
  if (absl::Status begun = BeginCheckpoint(target); !begun.ok()) return begun;
  Manifest manifest;
  manifest.step = target.step;
  manifest.epoch = target.epoch;
  manifest.world_size = world_size;
  manifest.total_elements = kTotal;
  manifest.published_elements = kPublished;
  manifest.config_digest = DigestOf("config");
  manifest.state = State(target.step);
  const ShardTensors arena = Arena(target.step);
  for (int rank = 0; rank < world_size; ++rank) {
    const auto record = WriteShard(target, rank, world_size, kTotal,
                                   Slice(arena, SliceOf(kTotal, rank, world_size)));
    if (!record.ok()) return record.status();
    manifest.shards.push_back(*record);
  }
  for (const int64_t version : versions) {
    const auto record =
        WriteWeightVersion(target, version, PublishedDigest(version), Published(version));
    if (!record.ok()) return record.status();
    manifest.versions.push_back(*record);
  }
  return CommitCheckpoint(target, manifest).status();
}

// The path of a directory that does not exist yet, of this process alone; removed with all that is
// in it when the object dies.
class ScratchDirectory {
 public:
  ScratchDirectory() : path_(absl::StrCat(testing::TempDir(), "/checkpoint_test_", RandomHex(8))) {}
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() { EXPECT_TRUE(RemoveRecursively(path_).ok()); }

  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

}  // namespace retort::checkpoint
