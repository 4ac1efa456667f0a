// What a scorer makes of one bundle: log-probs of the reference model at every response token, in
// the order of the rollout's response tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "retort/v1/artifact.pb.h"

namespace retort::artifact {

// T = sum of the rollout's response lengths.
struct Scores {
  v1::BundleId bundle;
  int64_t vocab = 0;  // 0: [T], of the sampled tokens; else [T, vocab] over the whole vocabulary.
  std::vector<float> ref_log_probs;  // Row-major.

  int64_t tokens() const {
    const auto values = static_cast<int64_t>(ref_log_probs.size());
    return vocab == 0 ? values : values / vocab;
  }
};

// As for Rollout.
absl::StatusOr<std::string> Encode(const Scores& scores);

// Errors: DATA_LOSS "scores artifact: <field>: <what>".
absl::StatusOr<Scores> DecodeScores(absl::string_view bytes);

// "scores/<kind>/<step>/<index>".
std::string ScoresArtifactId(const v1::BundleId& bundle);

}  // namespace retort::artifact
