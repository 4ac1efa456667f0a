#include "common/job/applicability.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/job/policy_adapter.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace retort::job {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

bool IsSft(const v1::JobSpec& spec) { return spec.algorithm().type() == v1::ALGORITHM_TYPE_SFT; }
bool HasPath(const v1::JobSpec& spec) { return spec.policy().has_path(); }
bool HasLoraPath(const v1::JobSpec& spec) { return spec.policy().lora().has_path(); }
bool TrainsEveryWeight(const v1::JobSpec& spec) { return !UsesAdapter(spec.policy()); }
bool GeneratesNothing(const v1::JobSpec& spec) { return IsSft(spec) && spec.eval().every() == 0; }

bool ComputesOnCpus(const v1::JobSpec& spec) {
  const v1::ClusterSpec& cluster = spec.cluster();
  return cluster.learner().device() != v1::DEVICE_CUDA &&
         cluster.rollout().device() != v1::DEVICE_CUDA &&
         cluster.scorer().device() != v1::DEVICE_CUDA;
}

struct Rule {
  absl::string_view field;  // And everything below it.
  bool (*ignored)(const v1::JobSpec&);
  absl::string_view why;
};

constexpr absl::string_view kSamples = "sft samples nothing";
constexpr absl::string_view kGreedy = "sft generates only for eval, greedily";
constexpr absl::string_view kNoEval = "sft generates only for eval, and eval.every is 0";

constexpr absl::string_view kAdapterConfig = "the adapter_config.json in policy.lora.path says it";

constexpr Rule kRules[] = {
    {"algorithm.ppo", IsSft, "algorithm.type is sft"},
    {"algorithm.sft", IsPpo, "algorithm.type is ppo"},
    {"algorithm.lag", IsSft, kSamples},
    {"policy.init", HasPath, "policy.path gives the weights"},
    {"policy.lora", TrainsEveryWeight, "policy.lora.rank is 0"},
    {"policy.lora.rank", HasLoraPath, kAdapterConfig},
    {"policy.lora.alpha", HasLoraPath, kAdapterConfig},
    {"policy.lora.target_modules", HasLoraPath, kAdapterConfig},
    {"policy.lora.use_rslora", HasLoraPath, kAdapterConfig},
    {"reference", IsSft, "sft measures no KL"},
    {"data.prompts_per_step", IsSft, "sft takes algorithm.sft.batch_size rows a step"},
    {"data.samples_per_prompt", IsSft, kSamples},
    {"data.last_turn_only", IsPpo, "ppo trains on what it samples"},
    {"rollout.temperature", IsSft, kGreedy},
    {"rollout.top_k", IsSft, kGreedy},
    {"rollout.top_p", IsSft, kGreedy},
    {"rollout.bundle_prompts", IsSft, kGreedy},
    {"cluster.scorer", IsSft, "sft has no reference to score with"},
    {"cluster.tf32", ComputesOnCpus, "no role has device cuda"},
    {"rollout", GeneratesNothing, kNoEval},
    {"rewards", GeneratesNothing, kNoEval},
    {"cluster.rollout", GeneratesNothing, kNoEval},
};

bool Covers(absl::string_view rule, absl::string_view field) {
  return absl::StartsWith(field, rule) &&
         (field.size() == rule.size() || field[rule.size()] == '.');
}

const Rule* RuleFor(const v1::JobSpec& spec, absl::string_view field) {
  for (const Rule& rule : kRules) {
    if (Covers(rule.field, field) && rule.ignored(spec)) return &rule;
  }
  return nullptr;
}

void ClearBelow(const v1::JobSpec& spec, const std::string& path, Message* message) {
  const google::protobuf::Descriptor* type = message->GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const std::string key = absl::StrCat(path, path.empty() ? "" : ".", field->name());
    if (RuleFor(spec, key) != nullptr) {
      message->GetReflection()->ClearField(message, field);
    } else if (!field->is_repeated() && message->GetReflection()->HasField(*message, field)) {
      ClearBelow(spec, key, message->GetReflection()->MutableMessage(message, field));
    }
  }
}

}  // namespace

bool IsPpo(const v1::JobSpec& spec) { return spec.algorithm().type() == v1::ALGORITHM_TYPE_PPO; }

std::string WhyIgnored(const v1::JobSpec& spec, absl::string_view field) {
  const Rule* rule = RuleFor(spec, field);
  return rule == nullptr ? "" : std::string(rule->why);
}

std::string IgnoredKeysList() {
  std::string list;
  for (const Rule& rule : kRules) absl::StrAppend(&list, "- `", rule.field, "`: ", rule.why, "\n");
  return list;
}

absl::Status RefuseIgnored(const v1::JobSpec& spec, const FieldPositions& positions) {
  for (const Rule& rule : kRules) {
    if (!rule.ignored(spec)) continue;
    // Who gives the number that turns a section off may keep the section.
    if (rule.ignored == GeneratesNothing && positions.Has("eval.every")) continue;
    if (rule.ignored == TrainsEveryWeight && positions.Has("policy.lora.rank")) continue;
    if (!positions.Has(std::string(rule.field))) continue;
    return positions.Error(rule.field, absl::StrCat("would be ignored: ", rule.why, "; remove it"));
  }
  return absl::OkStatus();
}

void ClearIgnored(v1::JobSpec* spec) {
  const v1::JobSpec before = *spec;  // The rules must not see a half-cleared spec.
  ClearBelow(before, "", spec);
}

}  // namespace retort::job
