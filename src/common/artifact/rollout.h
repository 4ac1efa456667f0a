// What a rollout worker makes of one bundle, and its bytes on the wire. Lengths, never padding
// values, say what belongs to a sample: nothing here is padded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "retort/v1/artifact.pb.h"

namespace retort::artifact {

// S slots (prompt groups) x n samples = N samples, slot-major. T = sum of response lengths, R =
// rewards.
struct Rollout {
  v1::BundleId bundle;
  int64_t version = 0;                    // Policy version that generated it.
  std::vector<int64_t> slots;             // [S] global slot numbers of the step, ascending.
  std::vector<int64_t> rows;              // [S] dataset row of each slot.
  int32_t n = 1;                          // Samples per prompt.
  std::vector<int32_t> prompt_lengths;    // [N] tokens, >= 1.
  std::vector<int32_t> response_lengths;  // [N] tokens, EOS included, >= 0.
  std::vector<int32_t> token_ids;  // Prompt then response of each sample, concatenated; >= 0.
  std::vector<float> behaviour_log_probs;  // [T] under the distribution that was sampled from.
  std::vector<uint8_t> finished;           // [N] 1 iff the response ended with EOS.
  std::vector<float> scores;               // [N] weighted sum of the rewards.
  std::vector<std::string> reward_names;   // [R]
  std::vector<float> reward_parts;         // [N, R] row-major, unweighted.
  std::vector<int32_t> reward_gave_up;     // [R] samples whose part is 0 because the reward gave up
                                           // on them; empty: none.

  int64_t samples() const { return static_cast<int64_t>(prompt_lengths.size()); }
};

// The same contents give the same bytes in every process: no attempt, worker or time is in them.
// Errors: INVALID_ARGUMENT names the field that does not fit the others or is out of bounds;
// OUT_OF_RANGE above 4 GiB. Floats may be anything: whether a NaN stops a step is the learner's
// decision.
absl::StatusOr<std::string> Encode(const Rollout& rollout);

// Errors: DATA_LOSS "rollout artifact: <field>: <what>". Allocates no more than a small multiple of
// bytes.size().
absl::StatusOr<Rollout> DecodeRollout(absl::string_view bytes);

// "rollout/<kind>/<step>/<index>": one bundle's artifact has one name, whoever makes it.
std::string RolloutArtifactId(const v1::BundleId& bundle);

}  // namespace retort::artifact
