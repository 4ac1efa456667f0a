// What a checkpoint folder says about itself: MANIFEST.json, written last. A folder without one is
// not a checkpoint. Every field is required at load: a missing or unknown one is DATA_LOSS that
// names file and field, never a default.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/digest.h"
#include "common/objective/running_moments.h"

namespace retort::checkpoint {

inline constexpr int64_t kFormatVersion = 1;
inline constexpr char kManifestName[] = "MANIFEST.json";

// Elements [begin, end) of the parameter arena.
struct ElementRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const ElementRange&) const = default;
};

// Rank `rank`'s contiguous share of `total` elements; boundaries are multiples of 16 elements (64
// bytes).
ElementRange SliceOf(int64_t total, int rank, int world_size);

struct FileRecord {
  std::string name;  // Inside the checkpoint folder.
  int64_t bytes = 0;
  Digest digest;  // Of the whole file.
  bool operator==(const FileRecord&) const = default;
};

// shard-R-of-N.safetensors: "params", "exp_avg", "exp_avg_sq", each float32 [range.size()].
struct ShardRecord {
  FileRecord file;
  ElementRange range;
  bool operator==(const ShardRecord&) const = default;
};

// version-V.safetensors: "published" float32 [published_elements], for rollouts that are still due.
struct VersionRecord {
  FileRecord file;
  int64_t version = 0;
  Digest weight_digest;  // Of the tensor's bytes: what the weight ring's header says.
  bool operator==(const VersionRecord&) const = default;
};

// The learner's numbers that are not tensors; the same on every rank.
struct TrainerState {
  int64_t step = 0;             // Next step to train; the weights are version `step`.
  int64_t optimizer_steps = 0;  // Updates applied so far: AdamW's bias correction counts them.
  int64_t bad_steps = 0;        // Steps in a row whose loss or gradient was not finite.
  double kl_coef = 0;           // The controller's value for step `step`.
  objective::RunningMoments score_moments;
  Digest weight_digest;  // Of version `step`'s published range.
  bool operator==(const TrainerState&) const = default;
};

struct Manifest {
  int64_t format_version = kFormatVersion;
  int64_t step = 0;  // = state.step = the number in the folder's name.
  uint64_t epoch = 0;
  int32_t world_size = 1;  // Of the writers. Any world size may load.
  int64_t total_elements = 0;
  int64_t published_elements = 0;
  Digest config_digest;  // Of what must agree between writer and reader; the caller chooses.
  std::vector<ShardRecord> shards;      // In rank order; their ranges cover [0, total_elements).
  std::vector<VersionRecord> versions;  // Ascending.
  TrainerState state;
  bool operator==(const Manifest&) const = default;
};

// {"digest", "manifest"}: the digest covers the manifest itself. Doubles are written so that
// reading them back gives the same bits.
std::string EncodeManifest(const Manifest& manifest);

// Errors: DATA_LOSS "<source>: ..." naming the field that is missing, unknown, of the wrong type or
// out of range; FAILED_PRECONDITION for a format version of another release.
absl::StatusOr<Manifest> DecodeManifest(absl::string_view text, absl::string_view source);

// What DecodeManifest and a commit check beyond single fields. DATA_LOSS names the field.
absl::Status CheckManifest(const Manifest& manifest, absl::string_view source);

// One record as a string, for the gather to rank 0.
std::string EncodeShardRecord(const ShardRecord& record);
absl::StatusOr<ShardRecord> DecodeShardRecord(absl::string_view text, absl::string_view source);

}  // namespace retort::checkpoint
