#include "worker/reward/reward_function.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/pattern.h"

namespace retort::worker {
namespace {

class ExactMatch : public RewardFunction {
 public:
  explicit ExactMatch(const v1::ExactMatchReward& spec)
      : require_eos_(spec.require_eos()), strip_(spec.strip()) {}
  absl::StatusOr<double> Evaluate(const Completion& completion) const override {
    if (require_eos_ && !completion.finished) return 0;
    if (!strip_) return completion.text == completion.answer ? 1 : 0;
    return MatchesAnswer(completion.text, completion.answer) ? 1 : 0;
  }

 private:
  const bool require_eos_, strip_;
};

class Regex : public RewardFunction {
 public:
  explicit Regex(text::Pattern pattern) : pattern_(std::move(pattern)) {}
  absl::StatusOr<double> Evaluate(const Completion& completion) const override {
    if (const auto bad = FirstInvalidByte(completion.text)) {
      return absl::InvalidArgumentError(absl::StrCat("the completion is not UTF-8 at byte ", *bad));
    }
    RETORT_ASSIGN_OR_RETURN(const auto match, pattern_.Find(completion.text, 0));
    return match ? 1 : 0;
  }

 private:
  const text::Pattern pattern_;
};

class Length : public RewardFunction {
 public:
  explicit Length(const v1::LengthReward& spec)
      : target_(spec.target()), tolerance_(spec.tolerance()) {}
  absl::StatusOr<double> Evaluate(const Completion& completion) const override {
    const double distance = static_cast<double>(std::abs(completion.tokens - target_));
    return std::max(0.0, 1 - distance / static_cast<double>(tolerance_));
  }

 private:
  const int64_t target_, tolerance_;
};

std::vector<std::string> KindNames() {
  const auto* kind = v1::RewardSpec::descriptor()->FindOneofByName("kind");
  std::vector<std::string> names;
  for (int i = 0; i < kind->field_count(); ++i) names.push_back(kind->field(i)->name());
  return names;
}

}  // namespace

bool MatchesAnswer(absl::string_view text, absl::string_view answer) {
  return absl::StripAsciiWhitespace(text) == absl::StripAsciiWhitespace(answer);
}

absl::StatusOr<std::unique_ptr<const RewardFunction>> MakeRewardFunction(
    const v1::RewardSpec& spec) {
  switch (spec.kind_case()) {
    case v1::RewardSpec::kExactMatch:
      return std::make_unique<ExactMatch>(spec.exact_match());
    case v1::RewardSpec::kRegex: {
      // A score must not depend on the host.
      absl::StatusOr<text::Pattern> pattern =
          text::Pattern::Compile(spec.regex().pattern(), text::PatternMatcher::kReproducible);
      RETORT_RETURN_IF_ERROR(WithContext(pattern.status(), "regex"));
      return std::make_unique<Regex>(*std::move(pattern));
    }
    case v1::RewardSpec::kLength:
      if (spec.length().tolerance() < 1) {
        return absl::InvalidArgumentError(absl::StrCat(
            "length.tolerance is ", spec.length().tolerance(), "; expected at least 1"));
      }
      return std::make_unique<Length>(spec.length());
    case v1::RewardSpec::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no kind is set; expected one of ", absl::StrJoin(KindNames(), ", ")));
}

}  // namespace retort::worker
