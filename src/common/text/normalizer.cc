#include "common/text/normalizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/nfc.h"
#include "common/text/oniguruma_pattern.h"
#include "common/text/pattern.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

// Replacements multiply: a hostile tokenizer could turn a short text into terabytes.
constexpr size_t kMaxNormalizedBytes = 256 << 20;

absl::Status TooLong() {
  return absl::ResourceExhaustedError(
      absl::StrCat("the normalized text is longer than ", kMaxNormalizedBytes, " bytes"));
}

// Notes that source bytes [begin, end) became the last `size` bytes of `out`.
void NoteReplaced(size_t begin, size_t end, size_t size, const std::string& out, EditMap* edits) {
  if (edits == nullptr) return;
  edits->Add({static_cast<int32_t>(begin), static_cast<int32_t>(end),
              static_cast<int32_t>(out.size() - size), static_cast<int32_t>(out.size())});
}

class Prepend : public NormalizerStep {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  absl::StatusOr<bool> Apply(absl::string_view text, std::string* out,
                             EditMap* edits) const override {
    if (text.empty() || prefix_.empty()) return false;
    out->append(prefix_);
    NoteReplaced(0, 0, prefix_.size(), *out, edits);
    out->append(text.data(), text.size());
    return true;
  }

 private:
  const std::string prefix_;
};

class ReplaceString : public NormalizerStep {
 public:
  ReplaceString(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  absl::StatusOr<bool> Apply(absl::string_view text, std::string* out,
                             EditMap* edits) const override {
    size_t at = text.find(from_);
    if (at == text.npos) return false;
    size_t done = 0;
    for (; at != text.npos; at = text.find(from_, done)) {
      out->append(text.data() + done, at - done).append(to_);
      if (out->size() > kMaxNormalizedBytes) return TooLong();
      done = at + from_.size();
      NoteReplaced(at, done, to_.size(), *out, edits);
    }
    out->append(text.data() + done, text.size() - done);
    return true;
  }

 private:
  const std::string from_, to_;
};

class ReplaceRegex : public NormalizerStep {
 public:
  ReplaceRegex(Pattern pattern, std::string to)
      : pattern_(std::move(pattern)), to_(std::move(to)) {}
  absl::StatusOr<bool> Apply(absl::string_view text, std::string* out,
                             EditMap* edits) const override {
    if (text.empty()) return false;
    MatchBudget budget(text.size());
    size_t done = 0, from = 0, behind = text.npos;
    while (from <= text.size()) {
      RETORT_ASSIGN_OR_RETURN(const std::optional<MatchRange> match,
                              pattern_.Find(text, from, &budget));
      if (!match) break;
      const bool empty = match->begin == match->end;
      if (!empty || behind != match->end) {  // An empty match right behind a match is none.
        out->append(text.data() + done, match->begin - done).append(to_);
        if (out->size() > kMaxNormalizedBytes) return TooLong();
        done = match->end;
        if (!empty || !to_.empty()) {
          NoteReplaced(match->begin, match->end, to_.size(), *out, edits);
        }
      }
      from = behind = match->end;
      if (!empty) continue;
      if (from >= text.size()) break;
      from += CharacterBytes(text[from]);
    }
    out->append(text.data() + done, text.size() - done);
    return true;
  }

 private:
  const Pattern pattern_;
  const std::string to_;
};

class Nfc : public NormalizerStep {
 public:
  absl::StatusOr<bool> Apply(absl::string_view text, std::string* out,
                             EditMap* edits) const override {
    if (FirstNfcCandidate(text) == text.size()) return false;
    if (AppendNfc(text, out, edits)) return true;
    out->clear();
    return false;
  }
};

using Steps = std::vector<std::unique_ptr<const NormalizerStep>>;

absl::StatusOr<std::unique_ptr<const NormalizerStep>> MakeReplace(const JsonObject& spec) {
  RETORT_ASSIGN_OR_RETURN(const JsonObject pattern, spec.Object("pattern"));
  RETORT_ASSIGN_OR_RETURN(std::string to, spec.String("content"));
  if (pattern.Find("Regex") != nullptr) {
    RETORT_ASSIGN_OR_RETURN(const std::string source, pattern.String("Regex"));
    const absl::StatusOr<std::string> translated = PcreFromOniguruma(source);
    RETORT_RETURN_IF_ERROR(WithContext(translated.status(), pattern.where()));
    absl::StatusOr<Pattern> compiled = Pattern::Compile(*translated);
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

absl::StatusOr<absl::string_view> Normalizer::Normalize(absl::string_view text,
                                                        NormalizerBuffers* buffers,
                                                        EditMap* edits) const {
  if (edits != nullptr) edits->Clear();
  int next = 0;
  for (const auto& step : steps_) {
    std::string& out = buffers->text[next];
    out.clear();
    EditMap* const step_edits = edits == nullptr ? nullptr : &buffers->step_edits;
    if (step_edits != nullptr) step_edits->Clear();
    RETORT_ASSIGN_OR_RETURN(const bool changed, step->Apply(text, &out, step_edits));
    if (!changed) continue;
    text = out;
    next = 1 - next;
    if (edits == nullptr) continue;
    if (edits->empty()) {
      std::swap(*edits, *step_edits);
    } else {
      *edits = EditMap::Compose(*edits, *step_edits);
    }
  }
  return text;
}

absl::StatusOr<std::string> Normalizer::Normalize(absl::string_view text) const {
  NormalizerBuffers buffers;
  RETORT_ASSIGN_OR_RETURN(const absl::string_view normalized,
                          Normalize(text, &buffers, /*edits=*/nullptr));
  return std::string(normalized);
}

}  // namespace retort::text
