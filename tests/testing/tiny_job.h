// A small PPO job without files: a model of 37 ids of which the tokenizer knows 35, and bundles of
// random samples of ragged lengths, as rollout workers and scorers would hand them over.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/artifact/rollout.h"
#include "common/artifact/scores.h"
#include "common/base/check.h"
#include "common/base/rng.h"
#include "retort/v1/job.pb.h"
#include "testing/tiny_model.h"
#include "worker/weight_sync/policy_source.h"

namespace retort::tiny {

// <pad> 0, <bos> 1, <eos> 2, digits 3 .. 12, '=' 13, '+' 14, letters a .. t 15 .. 34. The ids of
// the characters `without` have no token.
inline std::string TinyTokenizerJson(const std::string& without = "") {
  std::string vocab = R"("<pad>":0,"<bos>":1,"<eos>":2)";
  const std::string characters = "0123456789=+abcdefghijklmnopqrst";
  for (size_t i = 0; i < characters.size(); ++i) {
    if (without.find(characters[i]) != std::string::npos) continue;
    absl::StrAppend(&vocab, ",\"", characters.substr(i, 1), "\":", i + 3);
  }
  std::string added;
  const char* const names[] = {"<pad>", "<bos>", "<eos>"};
  for (int id = 0; id < 3; ++id) {
    absl::StrAppend(
        &added, id == 0 ? "" : ",", R"({"id":)", id, R"(,"content":")", names[id],
        R"(","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true})");
  }
  return absl::StrCat(
      R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[)", added,
      R"(],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,)",
      R"("trim_offsets":true,"use_regex":false},"post_processor":null,"decoder":{"type":"ByteLevel",)",
      R"("add_prefix_space":false,"trim_offsets":true,"use_regex":false},"model":{"type":"BPE",)",
      R"("dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,)",
      R"("fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":{)", vocab,
      R"(},"merges":[]}})");
}

inline constexpr char kTinyTokenizerConfig[] =
    R"({"bos_token":"<bos>","eos_token":"<eos>","pad_token":"<pad>"})";

inline worker::PolicyText TinyPolicy(const std::string& without = "",
                                     const v1::DataSpec& data = {}) {
  worker::PolicyText policy;
  policy.config = TinyConfig();
  auto tokenizer =
      text::Tokenizer::Parse(TinyTokenizerJson(without), kTinyTokenizerConfig, "tiny tokenizer");
  RETORT_CHECK(tokenizer.ok()) << tokenizer.status().ToString();
  policy.tokenizer = *std::move(tokenizer);
  auto rows = data::RowEncoder::Make(absl::NotFoundError("no chat template"), policy.tokenizer,
                                     policy.config, data);
  RETORT_CHECK(rows.ok()) << rows.status().ToString();
  policy.rows = *std::move(rows);
  policy.stop_ids = {2};
  policy.mask.limit = policy.tokenizer->vocab_size();
  policy.mask.excluded = policy.tokenizer->IdsWithoutToken(policy.mask.limit);
  return policy;
}

// What the job file's defaults would give, as far as the learner reads it.
inline v1::JobSpec TinyPpoSpec(int64_t prompts, int32_t samples_per_prompt) {
  v1::JobSpec spec;
  spec.set_seed(7);
  spec.mutable_algorithm()->set_type(v1::ALGORITHM_TYPE_PPO);
  spec.mutable_algorithm()->set_steps(10);
  v1::PpoSpec& ppo = *spec.mutable_algorithm()->mutable_ppo();
  ppo.set_ppo_epochs(1);
  ppo.set_cliprange(0.2);
  ppo.set_cliprange_value(0.2);
  ppo.set_vf_coef(0.1);
  ppo.set_gamma(1);
  ppo.set_lam(0.95);
  ppo.set_init_kl_coef(0.2);
  ppo.set_target(6);
  ppo.set_horizon(10000);
  ppo.set_adap_kl_ctrl(true);
  ppo.set_kl_penalty(v1::KL_PENALTY_KL);
  ppo.set_ratio_threshold(10);
  ppo.set_target_kl(1);
  ppo.set_value_learning_rate_scale(1);
  ppo.set_importance_sampling(v1::IMPORTANCE_SAMPLING_NONE);
  ppo.set_importance_sampling_cap(2);
  spec.mutable_data()->set_prompts_per_step(prompts);
  spec.mutable_data()->set_samples_per_prompt(samples_per_prompt);
  spec.mutable_rollout()->set_temperature(0.7);
  spec.mutable_rollout()->set_top_p(1);
  v1::OptimizerSpec& optimizer = *spec.mutable_optimizer();
  optimizer.set_learning_rate(1e-3);
  optimizer.set_beta1(0.9);
  optimizer.set_beta2(0.999);
  optimizer.set_eps(1e-8);
  optimizer.set_max_grad_norm(1);
  optimizer.set_lr_schedule(v1::LR_SCHEDULE_CONSTANT);
  optimizer.set_micro_batch_tokens(1 << 20);
  return spec;
}

struct TinyBundles {
  std::vector<artifact::Rollout> rollouts;
  std::vector<artifact::Scores> scores;
};

// All bundles of `step`, `bundle_prompts` slots each: prompts of 2 .. 7 and responses of 1 .. 9
// random tokens.
inline TinyBundles RandomBundles(const v1::JobSpec& spec, int64_t step, int64_t bundle_prompts,
                                 int64_t vocab) {
  CounterRng rng(spec.seed(), RngPurpose::kData, static_cast<uint64_t>(step));
  TinyBundles bundles;
  const int64_t prompts = spec.data().prompts_per_step();
  for (int64_t first = 0; first < prompts; first += bundle_prompts) {
    artifact::Rollout& rollout = bundles.rollouts.emplace_back();
    artifact::Scores& scores = bundles.scores.emplace_back();
    rollout.bundle.set_kind(v1::BUNDLE_KIND_TRAIN);
    rollout.bundle.set_step(step);
    rollout.bundle.set_index(static_cast<int32_t>(bundles.rollouts.size()) - 1);
    scores.bundle = rollout.bundle;
    rollout.version = std::max<int64_t>(0, step - spec.algorithm().lag());
    rollout.n = spec.data().samples_per_prompt();
    rollout.reward_names = {"exact_match", "length"};
    for (int64_t slot = first; slot < std::min(prompts, first + bundle_prompts); ++slot) {
      rollout.slots.push_back(slot);
      rollout.rows.push_back(slot);
      for (int sample = 0; sample < rollout.n; ++sample) {
        const auto prompt = static_cast<int32_t>(2 + rng.NextBelow(6));
        const auto response = static_cast<int32_t>(1 + rng.NextBelow(9));
        rollout.prompt_lengths.push_back(prompt);
        rollout.response_lengths.push_back(response);
        for (int t = 0; t < prompt + response; ++t) {
          rollout.token_ids.push_back(
              static_cast<int32_t>(rng.NextBelow(static_cast<uint64_t>(vocab))));
        }
        for (int t = 0; t < response; ++t) {
          rollout.behaviour_log_probs.push_back(static_cast<float>(-3 - rng.NextUniform()));
          scores.ref_log_probs.push_back(static_cast<float>(-3 - rng.NextUniform()));
        }
        rollout.finished.push_back(rng.NextBelow(2) == 1);
        rollout.scores.push_back(static_cast<float>(rng.NextUniform()));
        rollout.reward_parts.push_back(rollout.scores.back());
        rollout.reward_parts.push_back(0.5f);
      }
    }
  }
  return bundles;
}

}  // namespace retort::tiny
