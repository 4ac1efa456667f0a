#include "common/text/normalizer.h"

#include <utf8proc.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/pattern.h"

namespace retort::text {
namespace {

// Replacements multiply: a hostile tokenizer could turn a short text into terabytes.
constexpr size_t kMaxNormalizedBytes = 256 << 20;

absl::Status TooLong() {
  return absl::ResourceExhaustedError(
      absl::StrCat("the normalized text is longer than ", kMaxNormalizedBytes, " bytes"));
}

class Prepend : public NormalizerStep {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  absl::Status Apply(std::string* text) const override {
    if (!text->empty()) text->insert(0, prefix_);
    return absl::OkStatus();
  }

 private:
  const std::string prefix_;
};

class ReplaceString : public NormalizerStep {
 public:
  ReplaceString(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  absl::Status Apply(std::string* text) const override {
    size_t size = text->size();
    for (size_t at = text->find(from_); at != text->npos;
         at = text->find(from_, at + from_.size())) {
      size += to_.size();
    }
    if (size > kMaxNormalizedBytes) return TooLong();
    *text = absl::StrReplaceAll(*text, {{from_, to_}});
    return absl::OkStatus();
  }

 private:
  const std::string from_, to_;
};

class ReplaceRegex : public NormalizerStep {
 public:
  ReplaceRegex(Pattern pattern, std::string to)
      : pattern_(std::move(pattern)), to_(std::move(to)) {}
  absl::Status Apply(std::string* text) const override {
    std::string out;
    size_t done = 0, from = 0;
    while (from <= text->size()) {
      RETORT_ASSIGN_OR_RETURN(const std::optional<MatchRange> match, pattern_.Find(*text, from));
      if (!match) break;
      out.append(*text, done, match->begin - done).append(to_);
      if (out.size() > kMaxNormalizedBytes) return TooLong();
      done = from = match->end;
      if (match->begin == match->end) {
        if (from >= text->size()) break;
        from += CharacterBytes((*text)[from]);  // An empty match: go on behind the next character.
      }
    }
    out.append(*text, done);
    *text = std::move(out);
    return absl::OkStatus();
  }

 private:
  const Pattern pattern_;
  const std::string to_;
};

class Nfc : public NormalizerStep {
 public:
  absl::Status Apply(std::string* text) const override {
    utf8proc_uint8_t* out = nullptr;
    const utf8proc_ssize_t size =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text->data()),
                     static_cast<utf8proc_ssize_t>(text->size()), &out,
                     static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (size < 0) {
      return absl::InternalError(
          absl::StrCat("NFC of a text of ", text->size(), " bytes: ", utf8proc_errmsg(size)));
    }
    text->assign(reinterpret_cast<const char*>(out), static_cast<size_t>(size));
    std::free(out);
    return absl::OkStatus();
  }
};

using Steps = std::vector<std::unique_ptr<const NormalizerStep>>;

absl::StatusOr<std::unique_ptr<const NormalizerStep>> MakeReplace(const JsonObject& spec) {
  RETORT_ASSIGN_OR_RETURN(const JsonObject pattern, spec.Object("pattern"));
  RETORT_ASSIGN_OR_RETURN(std::string to, spec.String("content"));
  if (pattern.Find("Regex") != nullptr) {
    RETORT_ASSIGN_OR_RETURN(const std::string source, pattern.String("Regex"));
    absl::StatusOr<Pattern> compiled = Pattern::Compile(source);
    RETORT_RETURN_IF_ERROR(WithContext(compiled.status(), pattern.where()));
    return std::make_unique<ReplaceRegex>(*std::move(compiled), std::move(to));
  }
  RETORT_ASSIGN_OR_RETURN(std::string from, pattern.String("String"));
  if (from.empty()) return pattern.Error("String", "is empty");
  return std::make_unique<ReplaceString>(std::move(from), std::move(to));
}

absl::Status AddSteps(const JsonObject& spec, Steps* steps) {
  if (steps->size() > kMaxSequenceParts) return spec.Error("type", "stands in too long a Sequence");
  RETORT_ASSIGN_OR_RETURN(const absl::string_view type, spec.Type());
  if (type == "Sequence") {
    RETORT_ASSIGN_OR_RETURN(const std::vector<JsonObject> parts, spec.Objects("normalizers"));
    for (const JsonObject& part : parts) RETORT_RETURN_IF_ERROR(AddSteps(part, steps));
    return absl::OkStatus();
  }
  if (type == "Prepend") {
    RETORT_ASSIGN_OR_RETURN(std::string prefix, spec.String("prepend"));
    steps->push_back(std::make_unique<Prepend>(std::move(prefix)));
    return absl::OkStatus();
  }
  if (type == "Replace") {
    RETORT_ASSIGN_OR_RETURN(auto replace, MakeReplace(spec));
    steps->push_back(std::move(replace));
    return absl::OkStatus();
  }
  if (type == "NFC") {
    steps->push_back(std::make_unique<Nfc>());
    return absl::OkStatus();
  }
  return spec.Unknown("type", type, "Sequence, Prepend, Replace and NFC");
}

}  // namespace

absl::StatusOr<Normalizer> Normalizer::Make(const JsonObject& tokenizer) {
  Normalizer normalizer;
  if (tokenizer.Find("normalizer") == nullptr) return normalizer;
  RETORT_ASSIGN_OR_RETURN(const JsonObject spec, tokenizer.Object("normalizer"));
  RETORT_RETURN_IF_ERROR(AddSteps(spec, &normalizer.steps_));
  return normalizer;
}

absl::StatusOr<std::string> Normalizer::Normalize(absl::string_view text) const {
  std::string out(text);
  for (const auto& step : steps_) RETORT_RETURN_IF_ERROR(step->Apply(&out));
  return out;
}

}  // namespace retort::text
