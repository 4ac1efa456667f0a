#include "common/text/bpe.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace retort::text {

// Merges one word's symbols. Symbols are a doubly linked list in an array; the queue holds
// candidate pairs, some of them stale: a candidate counts only if its two symbols still merge to
// the token that it names.
class WordMerger {
 public:
  WordMerger(const BpeModel& model, std::vector<int32_t> symbols) : model_(model) {
    nodes_.reserve(symbols.size());
    const int32_t count = static_cast<int32_t>(symbols.size());
    for (int32_t i = 0; i < count; ++i)
      nodes_.push_back({symbols[i], i - 1, i + 1 < count ? i + 1 : -1});
    for (int32_t i = 0; i + 1 < count; ++i) Offer(i);
  }

  void Run(std::vector<int64_t>* ids) {
    while (!queue_.empty()) {
      const Candidate candidate = queue_.top();
      queue_.pop();
      Apply(candidate);
    }
    for (int32_t i = nodes_.empty() ? -1 : 0; i >= 0; i = nodes_[i].next)
      ids->push_back(nodes_[i].symbol);
  }

 private:
  struct Node {
    int32_t symbol;  // -1 once it was merged into the one before.
    int32_t previous, next;
  };
  struct Candidate {
    int32_t rank;
    int32_t position;  // Of the left symbol.
    int32_t id;
    bool operator<(
        const Candidate& other) const {  // The queue's top is the smallest rank, then position.
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };

  void Offer(int32_t position) {
    const int32_t next = nodes_[position].next;
    if (next < 0) return;
    const auto merge = model_.MergeOf(nodes_[position].symbol, nodes_[next].symbol);
    if (merge) queue_.push({merge->rank, position, merge->id});
  }

  void Apply(const Candidate& candidate) {
    Node& left = nodes_[candidate.position];
    if (left.symbol < 0 || left.next < 0) return;
    Node& right = nodes_[left.next];
    const auto merge = model_.MergeOf(left.symbol, right.symbol);
    if (!merge || merge->id != candidate.id) return;
    left.symbol = merge->id;
    right.symbol = -1;
    left.next = right.next;
    if (left.next >= 0) nodes_[left.next].previous = candidate.position;
    if (left.previous >= 0) Offer(left.previous);
    Offer(candidate.position);
  }

  const BpeModel& model_;
  std::vector<Node> nodes_;
  std::priority_queue<Candidate> queue_;
};

absl::StatusOr<BpeModel> BpeModel::Make(const JsonObject& tokenizer) {
  RETORT_ASSIGN_OR_RETURN(const JsonObject model, tokenizer.Object("model"));
  if (model.Find("type") != nullptr) {  // Old files have none; they are BPE if they have merges.
    RETORT_ASSIGN_OR_RETURN(const absl::string_view type, model.Type());
    if (type != "BPE") return model.Unknown("type", type, "BPE");
  }
  const nlohmann::json* dropout = model.Find("dropout");
  if (dropout != nullptr && *dropout != 0)
    return model.Unknown("dropout", dropout->dump(-1, ' ', true), "null");
  for (const absl::string_view affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const nlohmann::json* value = model.Find(affix);
    if (value != nullptr && *value != "")
      return model.Unknown(affix, value->dump(-1, ' ', true), "null and \"\"");
  }
  BpeModel bpe;
  RETORT_ASSIGN_OR_RETURN(bpe.fuse_unknown_, model.Bool("fuse_unk", false));
  RETORT_ASSIGN_OR_RETURN(bpe.ignore_merges_, model.Bool("ignore_merges", false));
  RETORT_RETURN_IF_ERROR(bpe.ReadVocabulary(model));
  RETORT_RETURN_IF_ERROR(bpe.ReadMerges(model));
  RETORT_RETURN_IF_ERROR(bpe.ReadByteTokens(model));
  if (model.Find("unk_token") != nullptr) {
    RETORT_ASSIGN_OR_RETURN(const std::string unknown, model.String("unk_token"));
    bpe.unknown_id_ = bpe.IdOf(unknown);
    if (!bpe.unknown_id_) return model.Error("unk_token", "is not in the vocabulary");
  }
  return bpe;
}

absl::Status BpeModel::ReadVocabulary(const JsonObject& model) {
  const nlohmann::json* vocabulary = model.Find("vocab");
  if (vocabulary == nullptr || !vocabulary->is_object())
    return model.Error("vocab", "is not an object");
  if (vocabulary->size() > static_cast<size_t>(kMaxVocabulary)) {
    return model.Error(
        "vocab", absl::StrCat("holds ", vocabulary->size(), " tokens; at most ", kMaxVocabulary));
  }
  id_of_.reserve(vocabulary->size());
  absl::flat_hash_map<int64_t, absl::string_view> token_of;
  token_of.reserve(vocabulary->size());
  for (const auto& [token, id] : vocabulary->items()) {
    const std::string shown = absl::StrCat("holds \"", Printable(token), "\" ");
    if (token.size() > kMaxTokenBytes) {
      return model.Error(
          "vocab", absl::StrCat(shown, "of ", token.size(), " bytes; at most ", kMaxTokenBytes));
    }
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMaxTokenId)) {
      return model.Error("vocab",
                         absl::StrCat(shown, "with id ", id.dump(-1, ' ', true).substr(0, 80),
                                      "; expected an integer in [0, ", kMaxTokenId, "]"));
    }
    const auto [it, inserted] = token_of.try_emplace(id.get<int64_t>(), token);
    if (!inserted) {
      return model.Error("vocab", absl::StrCat(shown, "and \"", Printable(it->second),
                                               "\" with the same id ", id.get<int64_t>()));
    }
    id_of_.emplace(token, static_cast<int32_t>(id.get<int64_t>()));
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadMerges(const JsonObject& model) {
  const nlohmann::json* merges = model.Find("merges");
  if (merges == nullptr || !merges->is_array()) return model.Error("merges", "is not a list");
  if (merges->size() > static_cast<size_t>(kMaxMerges)) {
    return model.Error("merges", absl::StrCat("holds ", merges->size(), "; at most ", kMaxMerges));
  }
  merges_.reserve(merges->size());
  int32_t rank = 0;
  for (const nlohmann::json& merge : *merges) {
    const std::string key = absl::StrCat("merges[", rank, "]");
    std::string left, right;
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    } else if (merge.is_string()) {
      const std::string& text = merge.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space == text.npos || text.find(' ', space + 1) != text.npos) {
        return model.Error(key, "is not two tokens with one space between them");
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else {
      return model.Error(key, "is neither \"a b\" nor [\"a\", \"b\"]");
    }
    const auto left_id = IdOf(left), right_id = IdOf(right), merged_id = IdOf(left + right);
    if (!left_id || !right_id || !merged_id) {
      const std::string& missing = !left_id ? left : !right_id ? right : left += right;
      return model.Error(
          key, absl::StrCat("needs \"", Printable(missing), "\", which is not in the vocabulary"));
    }
    merges_[static_cast<uint64_t>(*left_id) << 32 | static_cast<uint32_t>(*right_id)] = {
        rank++, *merged_id};
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadByteTokens(const JsonObject& model) {
  RETORT_ASSIGN_OR_RETURN(const bool byte_fallback, model.Bool("byte_fallback", false));
  if (!byte_fallback) return absl::OkStatus();
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_.push_back(IdOf(absl::StrFormat("<0x%02X>", byte)).value_or(-1));
  }
  return absl::OkStatus();
}

std::optional<int32_t> BpeModel::IdOf(absl::string_view piece) const {
  const auto it = id_of_.find(piece);
  if (it == id_of_.end()) return std::nullopt;
  return it->second;
}

std::optional<BpeModel::Merge> BpeModel::MergeOf(int32_t left, int32_t right) const {
  const auto it = merges_.find(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right));
  if (it == merges_.end()) return std::nullopt;
  return it->second;
}

absl::Status BpeModel::AppendCharacters(absl::string_view word,
                                        std::vector<int32_t>* symbols) const {
  bool after_unknown = false;
  for (size_t i = 0; i < word.size();) {
    const absl::string_view character = word.substr(i, CharacterBytes(word[i]));
    i += character.size();
    if (const auto id = IdOf(character)) {
      symbols->push_back(*id);
      after_unknown = false;
      continue;
    }
    const auto byte_id = [&](char c) { return byte_ids_[static_cast<uint8_t>(c)]; };
    if (!byte_ids_.empty() &&
        std::all_of(character.begin(), character.end(), [&](char c) { return byte_id(c) >= 0; })) {
      for (const char c : character) symbols->push_back(byte_id(c));
      after_unknown = false;
      continue;
    }
    if (!unknown_id_) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the tokenizer's vocabulary has no token for the character '%s' (U+%04X) "
                          "and no unknown token",
                          Printable(character), static_cast<uint32_t>(CodePoint(character))));
    }
    if (!(after_unknown && fuse_unknown_)) symbols->push_back(*unknown_id_);
    after_unknown = true;
  }
  return absl::OkStatus();
}

absl::Status BpeModel::Encode(absl::string_view word, std::vector<int64_t>* ids) const {
  if (ignore_merges_) {
    if (const auto id = IdOf(word)) {
      ids->push_back(*id);
      return absl::OkStatus();
    }
  }
  std::vector<int32_t> symbols;
  symbols.reserve(word.size());
  RETORT_RETURN_IF_ERROR(AppendCharacters(word, &symbols));
  WordMerger(*this, std::move(symbols)).Run(ids);
  return absl::OkStatus();
}

}  // namespace retort::text
