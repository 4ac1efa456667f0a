// Where a job's models come from: folders, configs, tokenizer and first weights. Every role reads
// the same folders, so that "the policy's first weights" means the same bytes in the learner and in
// the scorer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/layout/model_config.h"
#include "common/tensor/parameter_arena.h"
#include "common/text/tokenizer.h"
#include "retort/v1/job.pb.h"

namespace retort::worker {

// Folder of the policy's config and tokenizer: policy.path, or policy.init.config for a random
// start.
std::string PolicyFolder(const v1::JobSpec& spec);

// What all roles must agree on about token ids.
struct PolicyText {
  layout::ModelConfig config;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::vector<int64_t> stop_ids;  // A sample ends with one of these; empty: only by length.
  int64_t vocab_limit = 0;        // Ids from here on have no token: probability 0 in every role.
};

// Errors: those of LoadModelConfig and Tokenizer::Load.
absl::StatusOr<PolicyText> LoadPolicyText(const v1::JobSpec& spec);

// The token that training data ends a response with: the tokenizer's EOS, else the first stop id.
// Errors: INVALID_ARGUMENT if there is neither, or the tokenizer's EOS is no stop id: a policy that
// learned it would never stop.
absl::StatusOr<int64_t> EosOf(const PolicyText& policy);

// The policy's first weights: read from policy.path, or drawn with the job's seed. The value head
// of a layout that has one starts at zero unless the folder holds it.
absl::Status LoadFirstWeights(const v1::JobSpec& spec, tensor::ParameterArena* arena);

// A frozen model with weights of its own.
struct ReferenceWeights {
  layout::ModelConfig config;
  tensor::ParameterArena arena;
};

// reference.path, or the policy's first weights.
absl::StatusOr<ReferenceWeights> LoadReferenceWeights(const v1::JobSpec& spec);

// One prompt's token ids: its text without special tokens, the model's BOS in front if the job says
// data.add_bos. INVALID_ARGUMENT for text that cannot be encoded, a missing BOS, or a prompt of no
// tokens.
absl::StatusOr<std::vector<int64_t>> EncodePrompt(const PolicyText& policy, bool add_bos,
                                                  absl::string_view prompt);

}  // namespace retort::worker
