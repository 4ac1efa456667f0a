#include "common/artifact/rollout.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/artifact/artifact_format.h"
#include "common/base/status_macros.h"

namespace retort::artifact {
namespace {

constexpr char kKind[] = "rollout";
constexpr int64_t kMaxSamples = 65536;
constexpr int32_t kMaxLength = 1 << 24;
constexpr int64_t kMaxRewards = 64;
constexpr size_t kMaxRewardNameBytes = 128;

int64_t Sum(const std::vector<int32_t>& values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

std::string SizeProblem(absl::string_view field, size_t got, int64_t expected) {
  if (static_cast<int64_t>(got) == expected) return "";
  return absl::StrCat(field, ": ", got, " values, expected ", expected);
}

template <typename T>
std::string RangeProblem(absl::string_view field, const std::vector<T>& values, T low, T high) {
  const auto bad = std::find_if(values.begin(), values.end(),
                                [&](T value) { return value < low || value > high; });
  if (bad == values.end()) return "";
  return absl::StrCat(field, "[", bad - values.begin(), "]: ", *bad, ", expected ", low, " to ",
                      high);
}

std::string ShapeProblem(const Rollout& r) {
  if (std::string problem = internal::BundleProblem(r.bundle); !problem.empty()) return problem;
  if (r.version < 0) return absl::StrCat("version: ", r.version);
  const auto slots = static_cast<int64_t>(r.slots.size());
  if (slots < 1 || slots > kMaxSamples) return absl::StrCat("slots: ", slots, " of them");
  if (r.n < 1 || r.n > kMaxSamples || slots * r.n > kMaxSamples) {
    return absl::StrCat("samples per prompt: ", r.n, " for ", slots, " slots; at most ",
                        kMaxSamples, " samples");
  }
  if (static_cast<int64_t>(r.reward_names.size()) > kMaxRewards) {
    return absl::StrCat("reward_names: ", r.reward_names.size(), "; at most ", kMaxRewards);
  }
  for (const std::string& name : r.reward_names) {
    if (name.empty() || name.size() > kMaxRewardNameBytes) {
      return absl::StrCat("reward_names: a name of ", name.size(), " bytes");
    }
  }
  return "";
}

std::string LengthsProblem(const Rollout& r) {
  const auto samples = static_cast<int64_t>(r.slots.size()) * r.n;
  const std::string problems[] = {
      SizeProblem("rows", r.rows.size(), static_cast<int64_t>(r.slots.size())),
      SizeProblem("prompt_lengths", r.prompt_lengths.size(), samples),
      SizeProblem("response_lengths", r.response_lengths.size(), samples),
      SizeProblem("finished", r.finished.size(), samples),
      SizeProblem("scores", r.scores.size(), samples),
      SizeProblem("reward_parts", r.reward_parts.size(),
                  samples * static_cast<int64_t>(r.reward_names.size())),
      RangeProblem("prompt_lengths", r.prompt_lengths, 1, kMaxLength),
      RangeProblem("response_lengths", r.response_lengths, 0, kMaxLength),
  };
  for (const std::string& problem : problems) {
    if (!problem.empty()) return problem;
  }
  return "";
}

std::string ValuesProblem(const Rollout& r) {
  constexpr int64_t kAny64 = std::numeric_limits<int64_t>::max();
  const int64_t responses = Sum(r.response_lengths);
  const std::string problems[] = {
      SizeProblem("reward_gave_up", r.reward_gave_up.size(),
                  r.reward_gave_up.empty() ? 0 : static_cast<int64_t>(r.reward_names.size())),
      RangeProblem<int32_t>("reward_gave_up", r.reward_gave_up, 0,
                            static_cast<int32_t>(r.samples())),
      SizeProblem("token_ids", r.token_ids.size(), Sum(r.prompt_lengths) + responses),
      SizeProblem("behaviour_log_probs", r.behaviour_log_probs.size(), responses),
      RangeProblem<int64_t>("slots", r.slots, 0, kAny64),
      RangeProblem<int64_t>("rows", r.rows, 0, kAny64),
      RangeProblem("token_ids", r.token_ids, 0, std::numeric_limits<int32_t>::max()),
      RangeProblem<uint8_t>("finished", r.finished, 0, 1),
  };
  for (const std::string& problem : problems) {
    if (!problem.empty()) return problem;
  }
  if (std::adjacent_find(r.slots.begin(), r.slots.end(), std::greater_equal<>()) != r.slots.end()) {
    return "slots: not strictly ascending";
  }
  return "";
}

// Each stage relies on what the one before has established.
std::string Problem(const Rollout& rollout) {
  for (const auto stage : {ShapeProblem, LengthsProblem, ValuesProblem}) {
    if (std::string problem = stage(rollout); !problem.empty()) return problem;
  }
  return "";
}

absl::Status ReadMeta(const std::string& text, Rollout* rollout) {
  v1::RolloutMeta meta;
  if (!internal::ParseCanonical(text, &meta)) {
    return absl::DataLossError("meta: no canonical RolloutMeta");
  }
  rollout->bundle = meta.bundle();
  rollout->version = meta.version();
  rollout->n = meta.samples_per_prompt();
  rollout->reward_names.assign(meta.reward_names().begin(), meta.reward_names().end());
  rollout->reward_gave_up.assign(meta.reward_gave_up().begin(), meta.reward_gave_up().end());
  return absl::OkStatus();
}

absl::StatusOr<Rollout> Decode(absl::string_view bytes) {
  RETORT_ASSIGN_OR_RETURN(internal::ArtifactReader reader,
                          internal::ArtifactReader::Parse(bytes, kKind));
  Rollout r;
  RETORT_RETURN_IF_ERROR(ReadMeta(reader.meta(), &r));
  RETORT_RETURN_IF_ERROR(reader.NextVector("slots", &r.slots));
  RETORT_RETURN_IF_ERROR(reader.NextVector("rows", &r.rows));
  RETORT_RETURN_IF_ERROR(reader.NextVector("prompt_lengths", &r.prompt_lengths));
  RETORT_RETURN_IF_ERROR(reader.NextVector("response_lengths", &r.response_lengths));
  RETORT_RETURN_IF_ERROR(reader.NextVector("token_ids", &r.token_ids));
  RETORT_RETURN_IF_ERROR(reader.NextVector("behaviour_log_probs", &r.behaviour_log_probs));
  RETORT_RETURN_IF_ERROR(reader.NextVector("finished", &r.finished));
  RETORT_RETURN_IF_ERROR(reader.NextVector("scores", &r.scores));
  const auto rewards = static_cast<int64_t>(r.reward_names.size());
  RETORT_RETURN_IF_ERROR(reader.Next("reward_parts", {r.samples(), rewards}, &r.reward_parts));
  RETORT_RETURN_IF_ERROR(reader.Finish());
  if (const std::string problem = Problem(r); !problem.empty()) return absl::DataLossError(problem);
  return r;
}

}  // namespace

absl::StatusOr<std::string> Encode(const Rollout& r) {
  if (const std::string problem = Problem(r); !problem.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("rollout artifact: ", problem));
  }
  v1::RolloutMeta meta;
  *meta.mutable_bundle() = r.bundle;
  meta.set_version(r.version);
  meta.set_samples_per_prompt(r.n);
  meta.mutable_reward_names()->Add(r.reward_names.begin(), r.reward_names.end());
  meta.mutable_reward_gave_up()->Add(r.reward_gave_up.begin(), r.reward_gave_up.end());
  const auto slots = static_cast<int64_t>(r.slots.size());
  const auto rewards = static_cast<int64_t>(r.reward_names.size());
  internal::ArtifactWriter writer;
  writer.Add<int64_t>("slots", r.slots, {slots});
  writer.Add<int64_t>("rows", r.rows, {slots});
  writer.Add<int32_t>("prompt_lengths", r.prompt_lengths, {r.samples()});
  writer.Add<int32_t>("response_lengths", r.response_lengths, {r.samples()});
  writer.Add<int32_t>("token_ids", r.token_ids, {static_cast<int64_t>(r.token_ids.size())});
  writer.Add<float>("behaviour_log_probs", r.behaviour_log_probs,
                    {static_cast<int64_t>(r.behaviour_log_probs.size())});
  writer.Add<uint8_t>("finished", r.finished, {r.samples()});
  writer.Add<float>("scores", r.scores, {r.samples()});
  writer.Add<float>("reward_parts", r.reward_parts, {r.samples(), rewards});
  return writer.Finish(kKind, meta.SerializeAsString());
}

absl::StatusOr<Rollout> DecodeRollout(absl::string_view bytes) {
  absl::StatusOr<Rollout> rollout = Decode(bytes);
  if (!rollout.ok()) return WithContext(rollout.status(), "rollout artifact");
  return rollout;
}

std::string RolloutArtifactId(const v1::BundleId& bundle) {
  return absl::StrCat("rollout/", internal::BundlePath(bundle));
}

}  // namespace retort::artifact
