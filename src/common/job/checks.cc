#include "common/job/checks.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/job/learner_collective.h"
#include "common/job/policy_adapter.h"
#include "common/job/schema.h"
#include "common/job/yaml_tree.h"
#include "common/layout/adapter_config.h"

namespace retort::job {
namespace {

// Bounds of the messages that carry a step (proto/retort/v1/control.proto).
constexpr int64_t kMaxSamplesPerBundle = 65536;
constexpr int64_t kMaxRowsPerStep = 1'000'000;
constexpr int64_t kMaxSamplesPerStep = int64_t{1} << 24;
constexpr size_t kMaxNameBytes = 128;

absl::Status CheckName(const v1::JobSpec& spec, const FieldPositions& at) {
  const std::string& name = spec.name();
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (plain && !name.empty() && name.size() <= kMaxNameBytes && absl::ascii_isalnum(name[0])) {
    return absl::OkStatus();
  }
  return at.Error(
      "name", absl::StrCat("is \"", Printable(name), "\"; expected 1 to ", kMaxNameBytes,
                           " letters, digits, '.', '_' or '-', the ", "first a letter or digit"));
}

absl::Status CheckPolicy(const v1::JobSpec& spec, const FieldPositions& at) {
  if (spec.policy().has_path() || !spec.policy().init().config().empty()) return absl::OkStatus();
  return at.Error("policy.path",
                  "is missing; expected a folder with weights, or policy.init.config for a random "
                  "start");
}

absl::Status CheckLora(const v1::JobSpec& spec, const FieldPositions& at) {
  const v1::LoraSpec& lora = spec.policy().lora();
  if (!UsesAdapter(spec.policy())) return absl::OkStatus();
  if (lora.dropout() != 0) {
    return at.Error("policy.lora.dropout",
                    absl::StrCat("is ", NumberText(lora.dropout()),
                                 "; expected 0: adapters are trained without dropout"));
  }
  if (lora.has_path()) return absl::OkStatus();
  const auto& targets = lora.target_modules();
  if (targets.empty() || std::find(targets.begin(), targets.end(), "") != targets.end()) {
    return at.Error("policy.lora.target_modules",
                    "has no name, or an empty one; expected names of linear layers, or all-linear");
  }
  const bool all = std::find(targets.begin(), targets.end(), layout::kAllLinear) != targets.end();
  if (all && targets.size() > 1) {
    return at.Error("policy.lora.target_modules",
                    "has all-linear among other names; expected all-linear alone, or names only");
  }
  return absl::OkStatus();
}

absl::Status CheckBatch(const v1::JobSpec& spec, const FieldPositions& at) {
  const int64_t prompts = spec.data().prompts_per_step();
  const int64_t samples = prompts * spec.data().samples_per_prompt();
  const int64_t mini = spec.algorithm().ppo().mini_batch_size();
  if (prompts > kMaxRowsPerStep) {
    return at.Error("data.prompts_per_step",
                    absl::StrCat("is ", prompts, "; expected at most ", kMaxRowsPerStep));
  }
  if (samples > kMaxSamplesPerStep) {
    return at.Error(
        "data.samples_per_prompt",
        absl::StrCat("makes ", samples, " samples a step; expected at most ", kMaxSamplesPerStep));
  }
  const int64_t bundle = std::min<int64_t>(spec.rollout().bundle_prompts(), prompts) *
                         spec.data().samples_per_prompt();
  if (bundle > kMaxSamplesPerBundle) {
    return at.Error("rollout.bundle_prompts",
                    absl::StrCat("makes ", bundle, " samples a bundle; expected at most ",
                                 kMaxSamplesPerBundle));
  }
  if (mini != 0 && samples % mini != 0) {
    return at.Error("algorithm.ppo.mini_batch_size",
                    absl::StrCat("is ", mini, "; expected a divisor of the step's ", samples,
                                 " samples (data.prompts_per_step x data.samples_per_prompt), or 0 "
                                 "for the whole step"));
  }
  return absl::OkStatus();
}

// The adaptive controller multiplies its coefficient by at least 1 - 0.2 samples / horizon.
absl::Status CheckHorizon(const v1::JobSpec& spec, const FieldPositions& at) {
  constexpr double kMaxError = 0.2;
  const v1::PpoSpec& ppo = spec.algorithm().ppo();
  const int64_t samples = spec.data().prompts_per_step() * spec.data().samples_per_prompt();
  const double least = kMaxError * static_cast<double>(samples);
  if (!ppo.adap_kl_ctrl() || ppo.horizon() > least) return absl::OkStatus();
  return at.Error("algorithm.ppo.horizon",
                  absl::StrCat("is ", NumberText(ppo.horizon()), "; expected more than ",
                               NumberText(least), ", a fifth of the step's ", samples,
                               " samples, or one step could take the KL coefficient to 0 or below; "
                               "or adap_kl_ctrl: false"));
}

absl::Status CheckPpo(const v1::JobSpec& spec, const FieldPositions& at) {
  RETORT_RETURN_IF_ERROR(CheckBatch(spec, at));
  RETORT_RETURN_IF_ERROR(CheckHorizon(spec, at));
  if (spec.rewards().empty()) {
    return at.Error("rewards", "is empty; ppo needs at least one, e.g. [{type: exact_match}]");
  }
  const v1::PpoSpec& ppo = spec.algorithm().ppo();
  if (ppo.use_score_norm() && !ppo.use_score_scaling()) {
    return at.Error("algorithm.ppo.use_score_norm",
                    "is true but use_score_scaling is false, which would ignore it; set both");
  }
  return absl::OkStatus();
}

absl::Status CheckTypes(const v1::JobSpec& spec, const FieldPositions& at) {
  const v1::ClusterSpec& cluster = spec.cluster();
  const bool rolls_out =
      spec.algorithm().type() == v1::ALGORITHM_TYPE_PPO || spec.eval().every() > 0;
  const bool on_gpus = cluster.learner().device() == v1::DEVICE_CUDA &&
                       (!rolls_out || cluster.rollout().device() == v1::DEVICE_CUDA);
  if (spec.policy().dtype() == v1::DATA_TYPE_BFLOAT16 && !on_gpus) {
    return at.Error("policy.dtype",
                    "is bfloat16, in which only GPUs compute; expected float32, or device cuda for "
                    "learner and rollout (a reference may have dtype bfloat16 anywhere)");
  }
  const bool from_files = spec.reference().has_path() || spec.policy().has_path();
  if (spec.reference().dtype() == v1::DATA_TYPE_BFLOAT16 && !from_files) {
    return at.Error("reference.dtype",
                    "is bfloat16, but the reference is the policy's random start, which rounding "
                    "would change; expected float32");
  }
  return absl::OkStatus();
}

absl::Status CheckData(const v1::JobSpec& spec, const FieldPositions& at) {
  if (!spec.data().has_template_time()) return absl::OkStatus();
  absl::CivilSecond time;
  const std::string& text = spec.data().template_time();
  if (absl::ParseCivilTime(text, &time)) return absl::OkStatus();
  return at.Error("data.template_time", absl::StrCat("is \"", Printable(text),
                                                     "\"; expected a date and time such as "
                                                     "2026-03-01T09:30:00"));
}

absl::Status CheckOptimizer(const v1::JobSpec& spec, const FieldPositions& at) {
  const v1::OptimizerSpec& optimizer = spec.optimizer();
  const std::string schedule =
      EnumName(v1::LrSchedule_descriptor()->FindValueByNumber(optimizer.lr_schedule()));
  if (optimizer.warmup_steps() > 0 && optimizer.lr_schedule() == v1::LR_SCHEDULE_CONSTANT) {
    return at.Error("optimizer.warmup_steps",
                    absl::StrCat("is ", optimizer.warmup_steps(),
                                 " but lr_schedule constant has no warm-up; expected 0, or "
                                 "lr_schedule constant_with_warmup"));
  }
  if (optimizer.warmup_steps() > spec.algorithm().steps()) {
    return at.Error("optimizer.warmup_steps",
                    absl::StrCat("is ", optimizer.warmup_steps(), "; expected at most ",
                                 spec.algorithm().steps(), " (algorithm.steps)"));
  }
  if (optimizer.min_lr() > 0 && optimizer.lr_schedule() != v1::LR_SCHEDULE_COSINE_WITH_MIN_LR) {
    return at.Error("optimizer.min_lr", absl::StrCat("is ", NumberText(optimizer.min_lr()),
                                                     " but lr_schedule ", schedule,
                                                     " has no floor; expected 0, or lr_schedule "
                                                     "cosine_with_min_lr"));
  }
  if (optimizer.min_lr() > optimizer.learning_rate()) {
    return at.Error(
        "optimizer.min_lr",
        absl::StrCat("is ", NumberText(optimizer.min_lr()), "; expected at most ",
                     NumberText(optimizer.learning_rate()), " (optimizer.learning_rate)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckConsistency(const v1::JobSpec& spec, const FieldPositions& at) {
  RETORT_RETURN_IF_ERROR(CheckName(spec, at));
  RETORT_RETURN_IF_ERROR(CheckPolicy(spec, at));
  RETORT_RETURN_IF_ERROR(CheckTypes(spec, at));
  RETORT_RETURN_IF_ERROR(CheckLora(spec, at));
  RETORT_RETURN_IF_ERROR(CheckData(spec, at));
  if (spec.algorithm().type() == v1::ALGORITHM_TYPE_PPO) {
    RETORT_RETURN_IF_ERROR(CheckPpo(spec, at));
  } else if (spec.algorithm().sft().batch_size() > kMaxRowsPerStep) {
    return at.Error("algorithm.sft.batch_size",
                    absl::StrCat("is ", spec.algorithm().sft().batch_size(), "; expected at most ",
                                 kMaxRowsPerStep));
  }
  RETORT_RETURN_IF_ERROR(CheckOptimizer(spec, at));
  RETORT_RETURN_IF_ERROR(CheckLearnerCollective(spec, at));
  if (spec.eval().every() > 0 && !spec.data().has_validation()) {
    return at.Error("data.validation",
                    absl::StrCat("is missing, but eval.every is ", spec.eval().every(),
                                 "; expected a JSONL file, or eval.every: 0"));
  }
  return absl::OkStatus();
}

}  // namespace retort::job
