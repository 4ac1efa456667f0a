#include "common/text/pre_tokenizer.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/byte_level.h"
#include "common/text/pattern.h"

namespace retort::text {
namespace {

// Source: GPT-2's encoder.py; what ByteLevel means by use_regex.
constexpr absl::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct Part {
  size_t begin, end;
  bool is_match;
};

// Matches and the gaps between them, in order, without empty parts.
absl::StatusOr<std::vector<Part>> Partition(const Pattern& pattern, absl::string_view text) {
  std::vector<Part> parts;
  size_t done = 0, from = 0;
  while (from < text.size()) {
    RETORT_ASSIGN_OR_RETURN(const std::optional<MatchRange> match, pattern.Find(text, from));
    if (!match) break;
    if (match->end == match->begin) {  // Cuts nothing: go on behind the next character.
      if (match->end >= text.size()) break;
      from = match->end + CharacterBytes(text[match->end]);
      continue;
    }
    if (match->begin > done) parts.push_back({done, match->begin, false});
    parts.push_back({match->begin, match->end, true});
    done = from = match->end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), false});
  return parts;
}

// A match joins the part before it, except a match that follows a match.
std::vector<Part> MergeWithPrevious(const std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous_match = false;
  for (const Part& part : parts) {
    if (part.is_match && !previous_match && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    previous_match = part.is_match;
  }
  return merged;
}

class Split : public PreTokenizerStep {
 public:
  Split(Pattern pattern, bool merge_with_previous)
      : pattern_(std::move(pattern)), merge_with_previous_(merge_with_previous) {}
  absl::Status Cut(std::string word, Words* out) const override {
    RETORT_ASSIGN_OR_RETURN(std::vector<Part> parts, Partition(pattern_, word));
    if (merge_with_previous_) parts = MergeWithPrevious(parts);
    for (const Part& part : parts) out->push_back(word.substr(part.begin, part.end - part.begin));
    return absl::OkStatus();
  }

 private:
  const Pattern pattern_;
  const bool merge_with_previous_;
};

class AddPrefixSpace : public PreTokenizerStep {
 public:
  absl::Status Cut(std::string word, Words* out) const override {
    if (word[0] != ' ') word.insert(0, 1, ' ');
    out->push_back(std::move(word));
    return absl::OkStatus();
  }
};

class SpellBytes : public PreTokenizerStep {
 public:
  absl::Status Cut(std::string word, Words* out) const override {
    out->push_back(ToByteAlphabet(word));
    return absl::OkStatus();
  }
};

using Steps = std::vector<std::unique_ptr<const PreTokenizerStep>>;

absl::Status AddByteLevel(const JsonObject& spec, Steps* steps) {
  RETORT_ASSIGN_OR_RETURN(const bool add_prefix_space, spec.Bool("add_prefix_space", true));
  RETORT_ASSIGN_OR_RETURN(const bool use_regex, spec.Bool("use_regex", true));
  if (add_prefix_space) steps->push_back(std::make_unique<AddPrefixSpace>());
  if (use_regex) {
    RETORT_ASSIGN_OR_RETURN(Pattern pattern, Pattern::Compile(kGpt2Pattern));
    steps->push_back(std::make_unique<Split>(std::move(pattern), false));
  }
  steps->push_back(std::make_unique<SpellBytes>());
  return absl::OkStatus();
}

absl::StatusOr<Pattern> CompileSplit(const JsonObject& pattern) {
  std::string source;
  if (pattern.Find("Regex") != nullptr) {
    RETORT_ASSIGN_OR_RETURN(source, pattern.String("Regex"));
  } else {
    RETORT_ASSIGN_OR_RETURN(const std::string literal, pattern.String("String"));
    for (const char c : literal) {  // Escaped byte for byte: letters and digits need none.
      const bool plain = absl::ascii_isalnum(static_cast<unsigned char>(c)) || (c & 0x80) != 0;
      absl::StrAppend(&source, plain ? "" : "\\", absl::string_view(&c, 1));
    }
  }
  absl::StatusOr<Pattern> compiled = Pattern::Compile(source);
  RETORT_RETURN_IF_ERROR(WithContext(compiled.status(), pattern.where()));
  return compiled;
}

absl::Status AddSplit(const JsonObject& spec, Steps* steps) {
  RETORT_ASSIGN_OR_RETURN(const std::string behavior, spec.String("behavior"));
  RETORT_ASSIGN_OR_RETURN(const bool invert, spec.Bool("invert", false));
  RETORT_ASSIGN_OR_RETURN(const JsonObject pattern, spec.Object("pattern"));
  if (behavior != "Isolated" && behavior != "MergedWithPrevious") {
    return spec.Unknown("behavior", behavior, "Isolated and MergedWithPrevious");
  }
  if (invert) return spec.Unknown("invert", "true", "false");
  RETORT_ASSIGN_OR_RETURN(Pattern compiled, CompileSplit(pattern));
  steps->push_back(std::make_unique<Split>(std::move(compiled), behavior == "MergedWithPrevious"));
  return absl::OkStatus();
}

absl::Status AddSteps(const JsonObject& spec, Steps* steps, bool* byte_level);

absl::Status AddSequence(const JsonObject& spec, Steps* steps, bool* byte_level) {
  RETORT_ASSIGN_OR_RETURN(const std::vector<JsonObject> parts, spec.Objects("pretokenizers"));
  for (const JsonObject& part : parts) RETORT_RETURN_IF_ERROR(AddSteps(part, steps, byte_level));
  return absl::OkStatus();
}

absl::Status AddSteps(const JsonObject& spec, Steps* steps, bool* byte_level) {
  if (steps->size() > kMaxSequenceParts) return spec.Error("type", "stands in too long a Sequence");
  RETORT_ASSIGN_OR_RETURN(const absl::string_view type, spec.Type());
  if (type == "Sequence") return AddSequence(spec, steps, byte_level);
  if (*byte_level)
    return spec.Unknown("type", absl::StrCat(type, " behind ByteLevel"), "ByteLevel last");
  if (type == "ByteLevel") {
    *byte_level = true;
    return AddByteLevel(spec, steps);
  }
  if (type == "Split") return AddSplit(spec, steps);
  return spec.Unknown("type", type, "Sequence, ByteLevel and Split");
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Make(const JsonObject& tokenizer) {
  PreTokenizer pre_tokenizer;
  if (tokenizer.Find("pre_tokenizer") == nullptr) return pre_tokenizer;
  RETORT_ASSIGN_OR_RETURN(const JsonObject spec, tokenizer.Object("pre_tokenizer"));
  RETORT_RETURN_IF_ERROR(AddSteps(spec, &pre_tokenizer.steps_, &pre_tokenizer.byte_level_));
  return pre_tokenizer;
}

absl::StatusOr<Words> PreTokenizer::Cut(std::string text) const {
  Words words;
  if (!text.empty()) words.push_back(std::move(text));
  for (const auto& step : steps_) {
    Words next;
    for (std::string& word : words) RETORT_RETURN_IF_ERROR(step->Cut(std::move(word), &next));
    words = std::move(next);
  }
  return words;
}

}  // namespace retort::text
