#include "common/text/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/utf8.h"
#include "common/text/byte_level.h"
#include "common/text/tokenizer_json.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

using nlohmann::json;

constexpr int64_t kBytes = 256;
constexpr absl::string_view kTrainedPatterns[] = {"gpt2", "llama3", "qwen2", "gpt-oss"};

using Pair = std::pair<int32_t, int32_t>;

// Learns merges from distinct words and their counts.
class MergeLearner {
 public:
  struct Candidate {
    int64_t count;
    Pair pair;
    bool operator<(const Candidate& other) const {  // The queue's top is the most frequent.
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  // `pieces`: the tokens there are, in the byte alphabet; those below `first_byte` are special.
  MergeLearner(std::vector<std::string> pieces, int32_t first_byte, int64_t min_count)
      : pieces_(std::move(pieces)), min_count_(min_count) {
    for (size_t id = 0; id < pieces_.size(); ++id) {
      id_of_[pieces_[id]] = static_cast<int32_t>(id);
    }
    first_byte_ = first_byte;
  }

  void AddWord(absl::string_view bytes, int64_t count) {
    std::vector<int32_t> symbols;
    for (const char c : bytes) symbols.push_back(first_byte_ + static_cast<uint8_t>(c));
    const size_t word = words_.size();
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      Note({symbols[i], symbols[i + 1]}, word, count);
    }
    words_.push_back({std::move(symbols), count});
  }

  // Merges until there are `vocab_size` tokens.
  void Run(size_t vocab_size) {
    for (const auto& [pair, found] : pairs_) queue_.push({found.count, pair});
    while (pieces_.size() < vocab_size && !queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      const int64_t count = pairs_[best.pair].count;
      if (count != best.count) {  // It was counted down since.
        if (count >= min_count_) queue_.push({count, best.pair});
        continue;
      }
      if (count < min_count_) break;
      Apply(best.pair);
    }
  }

  const std::vector<std::string>& pieces() const { return pieces_; }
  const std::vector<Pair>& merges() const { return merges_; }

 private:
  struct TrainedWord {
    std::vector<int32_t> symbols;
    int64_t count;
  };
  struct Found {
    int64_t count = 0;
    std::vector<uint32_t> words;  // Ascending; some may have lost the pair since.
  };

  void Note(const Pair& pair, size_t word, int64_t count) {
    Found& found = pairs_[pair];
    found.count += count;
    if (found.words.empty() || found.words.back() != word) {
      found.words.push_back(static_cast<uint32_t>(word));
    }
  }

  void Apply(const Pair& pair) {
    const std::string made = pieces_[pair.first] + pieces_[pair.second];
    const std::vector<uint32_t> words = std::move(pairs_[pair].words);
    pairs_[pair] = {};
    const auto [it, is_new] = id_of_.try_emplace(made, static_cast<int32_t>(pieces_.size()));
    const int32_t id = it->second;
    if (id < first_byte_ || made.size() > kMaxTokenBytes) return;  // Spells a special token.
    if (is_new) pieces_.push_back(made);
    merges_.push_back(pair);
    std::set<Pair> grown;
    for (const uint32_t word : words) MergeIn(word, pair, id, &grown);
    for (const Pair& next : grown) queue_.push({pairs_[next].count, next});
  }

  void MergeIn(uint32_t index, const Pair& pair, int32_t id, std::set<Pair>* grown) {
    TrainedWord& word = words_[index];
    std::vector<int32_t>& symbols = word.symbols;
    size_t out = 0;
    for (size_t i = 0; i < symbols.size(); ++i) {
      if (i + 1 >= symbols.size() || symbols[i] != pair.first || symbols[i + 1] != pair.second) {
        symbols[out++] = symbols[i];
        continue;
      }
      if (out > 0) {
        pairs_[{symbols[out - 1], pair.first}].count -= word.count;
        Note({symbols[out - 1], id}, index, word.count);
        grown->insert({symbols[out - 1], id});
      }
      if (i + 2 < symbols.size()) {
        pairs_[{pair.second, symbols[i + 2]}].count -= word.count;
        Note({id, symbols[i + 2]}, index, word.count);
        grown->insert({id, symbols[i + 2]});
      }
      symbols[out++] = id;
      ++i;
    }
    symbols.resize(out);
  }

  std::vector<std::string> pieces_;
  const int64_t min_count_;
  int32_t first_byte_ = 0;
  std::vector<TrainedWord> words_;
  absl::flat_hash_map<std::string, int32_t> id_of_;
  absl::flat_hash_map<Pair, Found> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<Pair> merges_;
};

std::string Quoted(const std::string& text) { return DumpJson(json(text)); }

json PreTokenizerJson(const std::string& pattern) {
  json byte_level = {{"type", "ByteLevel"},
                     {"add_prefix_space", false},
                     {"trim_offsets", true},
                     {"use_regex", pattern == "gpt2"}};
  if (pattern == "gpt2") return byte_level;
  const json split = {{"type", "Split"},
                      {"pattern", {{"Regex", std::string(PatternNamed(pattern))}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", json::array({split, byte_level})}};
}

// A vocabulary is written piece by piece: as one JSON value it would be slow to build in order.
std::string TokenizerJson(const BpeTrainerOptions& options, const MergeLearner& learner) {
  json added = json::array();
  for (size_t id = 0; id < options.special_tokens.size(); ++id) {
    added.push_back({{"id", id},
                     {"content", options.special_tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  std::string out = absl::StrCat(
      "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n",
      "  \"added_tokens\": ", DumpJson(added), ",\n  \"normalizer\": null,\n  \"pre_tokenizer\": ",
      DumpJson(PreTokenizerJson(options.pattern)),
      ",\n  \"post_processor\": ", DumpJson(byte_level), ",\n  \"decoder\": ", DumpJson(byte_level),
      ",\n  \"model\": {\n    \"type\": \"BPE\",\n",
      "    \"dropout\": null,\n    \"unk_token\": null,\n    \"continuing_subword_prefix\": "
      "null,\n",
      "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n    \"byte_fallback\": "
      "false,\n",
      "    \"ignore_merges\": false,\n    \"vocab\": {");
  const std::vector<std::string>& pieces = learner.pieces();
  for (size_t id = 0; id < pieces.size(); ++id) {
    absl::StrAppend(&out, id == 0 ? "\n" : ",\n", "      ", Quoted(pieces[id]), ": ", id);
  }
  absl::StrAppend(&out, "\n    },\n    \"merges\": [");
  bool first = true;
  for (const auto& [left, right] : learner.merges()) {
    absl::StrAppend(&out, first ? "\n" : ",\n", "      [", Quoted(pieces[left]), ", ",
                    Quoted(pieces[right]), "]");
    first = false;
  }
  absl::StrAppend(&out, "\n    ]\n  }\n}\n");
  return out;
}

}  // namespace

absl::StatusOr<BpeTrainer> BpeTrainer::Make(BpeTrainerOptions options) {
  const auto bad = [](const std::string& what) { return absl::InvalidArgumentError(what); };
  const int64_t specials = static_cast<int64_t>(options.special_tokens.size());
  if (specials > kMaxSpecialTokens) {
    return bad(absl::StrCat(specials, " special tokens; at most ", kMaxSpecialTokens));
  }
  if (options.vocab_size < kBytes + specials || options.vocab_size > kMaxVocabSize) {
    return bad(absl::StrCat("vocab size ", options.vocab_size, "; expected ", kBytes + specials,
                            " (256 bytes and the special tokens) to ", kMaxVocabSize));
  }
  if (options.min_count < 1) return bad("min count below 1");
  std::set<std::string> distinct;
  for (const std::string& token : options.special_tokens) {
    if (token.empty() || token.size() > kMaxTokenBytes || FirstInvalidByte(token)) {
      return bad(absl::StrCat("special token \"", Printable(token), "\": expected 1 to ",
                              kMaxTokenBytes, " bytes of UTF-8"));
    }
    if (CharacterBytes(token[0]) == token.size()) {
      return bad(absl::StrCat("special token \"", Printable(token),
                              "\": expected more than one character, which could be a byte's"));
    }
    if (!distinct.insert(token).second) {
      return bad(absl::StrCat("special token \"", Printable(token), "\" appears twice"));
    }
  }
  const bool known = std::find(std::begin(kTrainedPatterns), std::end(kTrainedPatterns),
                               options.pattern) != std::end(kTrainedPatterns);
  if (!known) {
    return bad(absl::StrCat("pattern \"", Printable(options.pattern),
                            "\"; expected gpt2, llama3, qwen2 or gpt-oss"));
  }
  const SplitScanner scanner = FindSplitScanner(PatternNamed(options.pattern));
  return BpeTrainer(std::move(options), scanner);
}

absl::Status BpeTrainer::Add(absl::string_view text) {
  if (const auto at = FirstInvalidByte(text)) {
    return absl::InvalidArgumentError(absl::StrCat("not UTF-8 at byte ", *at));
  }
  words_.clear();
  scanner_(text, {0, static_cast<uint32_t>(text.size())}, &words_);
  for (const Word& word : words_) {
    const absl::string_view bytes = text.substr(word.begin, word.end - word.begin);
    const auto [it, inserted] = counts_.try_emplace(std::string(bytes), 0);
    ++it->second;
    if (inserted) distinct_bytes_ += bytes.size() + 64;
  }
  if (distinct_bytes_ <= kMaxDistinctBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("more than ", kMaxDistinctBytes >> 20,
                   " MiB of distinct words; train on a part of the text"));
}

BpeTrainer::Result BpeTrainer::Train() const {
  std::vector<std::string> pieces = options_.special_tokens;
  const int32_t first_byte = static_cast<int32_t>(pieces.size());
  for (int byte = 0; byte < kBytes; ++byte) {
    pieces.emplace_back(ByteCharacter(static_cast<uint8_t>(byte)));
  }
  MergeLearner learner(std::move(pieces), first_byte, options_.min_count);
  std::vector<std::pair<absl::string_view, int64_t>> words(counts_.begin(), counts_.end());
  std::sort(words.begin(), words.end());
  for (const auto& [word, count] : words) learner.AddWord(word, count);
  learner.Run(static_cast<size_t>(options_.vocab_size));
  Result result;
  result.tokenizer_json = TokenizerJson(options_, learner);
  result.vocab_size = static_cast<int64_t>(learner.pieces().size());
  result.distinct_words = static_cast<int64_t>(counts_.size());
  return result;
}

}  // namespace retort::text
