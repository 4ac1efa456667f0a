// Where a job's models come from: folders, configs, tokenizer and first weights. Every role reads
// the same folders, so that "the policy's first weights" means the same bytes in the learner and in
// the scorer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/row_encoder.h"
#include "common/layout/model_config.h"
#include "common/model/vocab_mask.h"
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
  std::shared_ptr<const data::RowEncoder> rows;
  std::vector<int64_t> stop_ids;  // data::StopIdsOf.
  model::VocabMask mask;          // Ids with a token; others have probability 0 in every role.
};

// Errors: those of LoadCausalConfig, Tokenizer::Load and RowEncoder::Make.
absl::StatusOr<PolicyText> LoadPolicyText(const v1::JobSpec& spec);

// The policy's first weights: read from policy.path, or drawn with the job's seed. The value head
// of a layout that has one starts at zero unless the folder holds it.
absl::Status LoadFirstWeights(const v1::JobSpec& spec, tensor::ParameterArena* arena);

// A frozen model with weights of its own.
struct ReferenceWeights {
  layout::ModelConfig config;
  tensor::ParameterArena arena;
};

// reference.path, or the policy's first weights; held in reference.dtype where they come from
// files.
absl::StatusOr<ReferenceWeights> LoadReferenceWeights(const v1::JobSpec& spec);

}  // namespace retort::worker
