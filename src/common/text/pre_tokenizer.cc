#include "common/text/pre_tokenizer.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/oniguruma_pattern.h"
#include "common/text/pattern.h"
#include "common/text/split_scanner.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

Word MakeWord(size_t begin, size_t end) {
  return {static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
}

class ScannedSplit : public PreTokenizerStep {
 public:
  explicit ScannedSplit(SplitScanner scanner) : scanner_(scanner) {}
  absl::Status Cut(absl::string_view text, Word piece, std::vector<Word>* words, MatchBudget*,
                   size_t*) const override {
    scanner_(text, piece, words);
    return absl::OkStatus();
  }

 private:
  const SplitScanner scanner_;
};

// Turns matches into words: with MergedWithPrevious a match joins the part before it, except a
// match that follows a match. An empty match ends the part before it.
class PartSink {
 public:
  PartSink(bool merge_with_previous, Word piece, std::vector<Word>* words)
      : merge_(merge_with_previous), done_(piece.begin), end_(piece.end), words_(words) {}

  void Match(size_t begin, size_t end) {
    const bool gap = begin > done_;
    if (gap) words_->push_back(MakeWord(done_, begin));
    if (merge_ && gap) {
      words_->back().end = static_cast<uint32_t>(end);
    } else if (end > begin) {
      words_->push_back(MakeWord(begin, end));
    }
    done_ = end;
  }
  void Finish() {
    if (done_ < end_) words_->push_back(MakeWord(done_, end_));
  }

 private:
  const bool merge_;
  size_t done_;
  const size_t end_;
  std::vector<Word>* const words_;
};

class RegexSplit : public PreTokenizerStep {
 public:
  RegexSplit(Pattern pattern, bool merge_with_previous)
      : pattern_(std::move(pattern)), merge_with_previous_(merge_with_previous) {}
  absl::Status Cut(absl::string_view text, Word piece, std::vector<Word>* words,
                   MatchBudget* budget, size_t* stopped_at) const override {
    const absl::string_view seen = text.substr(piece.begin, piece.end - piece.begin);
    PartSink parts(merge_with_previous_, piece, words);
    size_t behind = seen.npos;  // The match before.
    for (size_t from = 0; from < seen.size();) {
      *stopped_at = piece.begin + from;
      RETORT_ASSIGN_OR_RETURN(const std::optional<MatchRange> match,
                              pattern_.Find(seen, from, budget));
      if (!match) break;
      // An empty match right behind a match is none; any other cuts, as Hugging Face has it.
      const bool empty = match->begin == match->end;
      if (!empty || behind != match->end) {
        parts.Match(piece.begin + match->begin, piece.begin + match->end);
      }
      behind = match->end;
      if (!empty) {
        from = match->end;
      } else if (match->end < seen.size()) {
        from = match->end + CharacterBytes(seen[match->end]);
      } else {
        break;
      }
    }
    parts.Finish();
    return absl::OkStatus();
  }

 private:
  const Pattern pattern_;
  const bool merge_with_previous_;
};

class LiteralSplit : public PreTokenizerStep {
 public:
  LiteralSplit(std::string literal, bool merge_with_previous)
      : literal_(std::move(literal)), merge_with_previous_(merge_with_previous) {}
  absl::Status Cut(absl::string_view text, Word piece, std::vector<Word>* words, MatchBudget*,
                   size_t*) const override {
    const absl::string_view seen = text.substr(0, piece.end);
    PartSink parts(merge_with_previous_, piece, words);
    for (size_t at = seen.find(literal_, piece.begin); at != seen.npos;
         at = seen.find(literal_, at + literal_.size())) {
      parts.Match(at, at + literal_.size());
    }
    parts.Finish();
    return absl::OkStatus();
  }

 private:
  const std::string literal_;
  const bool merge_with_previous_;
};

}  // namespace

// Reads a pre-tokenizer's parts and checks their order.
class PreTokenizerReader {
 public:
  absl::Status Read(const JsonObject& spec) {
    if (++parts_ > kMaxSequenceParts) return spec.Error("type", "stands in too long a Sequence");
    RETORT_ASSIGN_OR_RETURN(const absl::string_view type, spec.Type());
    if (type == "Sequence") {
      RETORT_ASSIGN_OR_RETURN(const std::vector<JsonObject> parts, spec.Objects("pretokenizers"));
      for (const JsonObject& part : parts) RETORT_RETURN_IF_ERROR(Read(part));
      return absl::OkStatus();
    }
    if (out_.byte_level_)
      return spec.Unknown("type", absl::StrCat(type, " behind ByteLevel"), "ByteLevel last");
    if (type == "ByteLevel") return ReadByteLevel(spec);
    if (type == "Split") return ReadSplit(spec);
    return spec.Unknown("type", type, "Sequence, ByteLevel and Split");
  }

  PreTokenizer Take() { return std::move(out_); }

 private:
  absl::Status ReadByteLevel(const JsonObject& spec) {
    out_.byte_level_ = true;
    RETORT_ASSIGN_OR_RETURN(out_.add_prefix_space_, spec.Bool("add_prefix_space", true));
    RETORT_ASSIGN_OR_RETURN(const bool use_regex, spec.Bool("use_regex", true));
    if (out_.add_prefix_space_ && !out_.steps_.empty()) {
      return spec.Unknown("add_prefix_space", "true behind Split", "false there");
    }
    if (use_regex) AddScanner(FindSplitScanner(kGpt2Pattern));
    return absl::OkStatus();
  }

  absl::Status ReadSplit(const JsonObject& spec) {
    RETORT_ASSIGN_OR_RETURN(const std::string behavior, spec.String("behavior"));
    RETORT_ASSIGN_OR_RETURN(const bool invert, spec.Bool("invert", false));
    RETORT_ASSIGN_OR_RETURN(const JsonObject pattern, spec.Object("pattern"));
    const bool merge = behavior == "MergedWithPrevious";
    if (!merge && behavior != "Isolated") {
      return spec.Unknown("behavior", behavior, "Isolated and MergedWithPrevious");
    }
    if (invert) return spec.Unknown("invert", "true", "false");
    if (pattern.Find("Regex") == nullptr) {
      RETORT_ASSIGN_OR_RETURN(std::string literal, pattern.String("String"));
      if (literal.empty()) return pattern.Error("String", "is empty");
      out_.steps_.push_back(std::make_unique<LiteralSplit>(std::move(literal), merge));
      return absl::OkStatus();
    }
    RETORT_ASSIGN_OR_RETURN(const std::string source, pattern.String("Regex"));
    const SplitScanner scanner = merge ? nullptr : FindSplitScanner(source);
    if (scanner != nullptr) {
      AddScanner(scanner);
      return absl::OkStatus();
    }
    const absl::StatusOr<std::string> translated = PcreFromOniguruma(source);
    RETORT_RETURN_IF_ERROR(WithContext(translated.status(), pattern.where()));
    absl::StatusOr<Pattern> compiled = Pattern::Compile(*translated);
    RETORT_RETURN_IF_ERROR(WithContext(compiled.status(), pattern.where()));
    out_.steps_.push_back(std::make_unique<RegexSplit>(*std::move(compiled), merge));
    return absl::OkStatus();
  }

  void AddScanner(SplitScanner scanner) {
    out_.steps_.push_back(std::make_unique<ScannedSplit>(scanner));
  }

  PreTokenizer out_;
  size_t parts_ = 0;
};

absl::StatusOr<PreTokenizer> PreTokenizer::Make(const JsonObject& tokenizer) {
  PreTokenizerReader reader;
  if (tokenizer.Find("pre_tokenizer") != nullptr) {
    RETORT_ASSIGN_OR_RETURN(const JsonObject spec, tokenizer.Object("pre_tokenizer"));
    RETORT_RETURN_IF_ERROR(reader.Read(spec));
  }
  return reader.Take();
}

absl::Status PreTokenizer::Cut(absl::string_view text, std::vector<Word>* words,
                               std::vector<Word>* spare, MatchBudget* budget,
                               size_t* stopped_at) const {
  words->clear();
  if (text.empty()) return absl::OkStatus();
  words->push_back(MakeWord(0, text.size()));
  for (const auto& step : steps_) {
    spare->clear();
    for (const Word& word : *words) {
      RETORT_RETURN_IF_ERROR(step->Cut(text, word, spare, budget, stopped_at));
    }
    std::swap(*words, *spare);
  }
  return absl::OkStatus();
}

}  // namespace retort::text
