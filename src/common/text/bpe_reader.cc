// Reading a BPE model: the large lists are walked in the file's text, not as a tree.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/bpe.h"
#include "common/text/byte_level.h"
#include "common/text/json_cursor.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

absl::string_view AsView(const std::vector<char>& chars, size_t begin) {
  return {chars.data() + begin, chars.size() - begin};
}

// A non-negative integer; nullopt for any other JSON value.
std::optional<int64_t> TokenId(absl::string_view raw) {
  int64_t id = 0;
  if (raw.empty() || raw.size() > 9) return std::nullopt;
  for (const char c : raw) {
    if (c < '0' || c > '9') return std::nullopt;
    id = id * 10 + (c - '0');
  }
  return id;
}

// The two sides of a merge, one behind the other.
struct MergeText {
  std::string joined;
  size_t left_size = 0;
  const char* problem = nullptr;
};

// Takes "a b" or ["a", "b"]. False when the JSON itself is wrong.
bool TakeMerge(JsonCursor* cursor, MergeText* merge) {
  absl::string_view text;
  merge->problem = nullptr;
  const char first = cursor->Peek();
  if (first == '"') {
    if (!cursor->String(&text)) return false;
    const size_t space = text.find(' ');
    if (space == text.npos || text.find(' ', space + 1) != text.npos) {
      merge->problem = "is not two tokens with one space between them";
      return true;
    }
    merge->joined.assign(text.data(), space);
    merge->left_size = space;
    merge->joined.append(text.data() + space + 1, text.size() - space - 1);
    return true;
  }
  merge->problem = "is neither \"a b\" nor [\"a\", \"b\"]";
  if (first != '[') return true;
  cursor->Take('[');
  if (cursor->Peek() != '"') return true;
  if (!cursor->String(&text)) return false;
  merge->joined.assign(text.data(), text.size());
  merge->left_size = text.size();
  if (cursor->Peek() != ',') return true;
  cursor->Take(',');
  if (cursor->Peek() != '"') return true;
  if (!cursor->String(&text)) return false;
  merge->joined.append(text.data(), text.size());
  if (cursor->Peek() != ']') return true;
  cursor->Take(']');
  merge->problem = nullptr;
  return true;
}

}  // namespace

class BpeReader {
 public:
  BpeReader(const JsonObject& model, const TokenizerDocument& document, bool byte_level)
      : model_(model), document_(document) {
    bpe_.byte_level_ = byte_level;
  }

  absl::StatusOr<BpeModel> Read() {
    RETORT_ASSIGN_OR_RETURN(bpe_.fuse_unknown_, model_.Bool("fuse_unk", false));
    RETORT_ASSIGN_OR_RETURN(bpe_.ignore_merges_, model_.Bool("ignore_merges", false));
    RETORT_RETURN_IF_ERROR(ReadVocabulary());
    RETORT_RETURN_IF_ERROR(ReadMerges());
    if (model_.Find("unk_token") != nullptr) {
      RETORT_ASSIGN_OR_RETURN(const std::string unknown, model_.String("unk_token"));
      bpe_.unknown_id_ = bpe_.IdOf(unknown);
      if (!bpe_.unknown_id_) return model_.Error("unk_token", "is not in the vocabulary");
    }
    RETORT_RETURN_IF_ERROR(ReadFirstSymbols());
    return std::move(bpe_);
  }

 private:
  struct Piece {
    size_t begin, size;  // In texts_.
    int32_t id;
  };

  absl::Status ReadVocabulary() {
    const RawValue& raw = document_.vocabulary;
    if (raw.text.empty() || raw.text[0] != '{') return model_.Error("vocab", "is not an object");
    bpe_.texts_.reserve(raw.text.size());
    std::vector<Piece> pieces;
    JsonCursor cursor(raw.text, raw.offset);
    cursor.Take('{');
    bool first = true;
    while (cursor.More('}', &first)) {
      absl::string_view token, value;
      if (!cursor.String(&token)) break;
      const size_t begin = bpe_.texts_.size();
      bpe_.texts_.insert(bpe_.texts_.end(), token.begin(), token.end());
      if (!cursor.Take(':') || !cursor.Skip(&value)) break;
      RETORT_RETURN_IF_ERROR(CheckPiece(AsView(bpe_.texts_, begin), value, pieces.size()));
      pieces.push_back({begin, bpe_.texts_.size() - begin, static_cast<int32_t>(*TokenId(value))});
    }
    if (!cursor.ok()) return model_.Error("vocab", cursor.error());
    return IndexPieces(pieces);
  }

  absl::Status CheckPiece(absl::string_view token, absl::string_view value, size_t before) const {
    if (before >= static_cast<size_t>(kMaxVocabulary)) {
      return model_.Error("vocab", absl::StrCat("holds more than ", kMaxVocabulary, " tokens"));
    }
    if (token.size() > kMaxTokenBytes) {
      return VocabularyError(token,
                             absl::StrCat("of ", token.size(), " bytes; at most ", kMaxTokenBytes));
    }
    const std::optional<int64_t> id = TokenId(value);
    if (id && *id <= kMaxTokenId) return absl::OkStatus();
    return VocabularyError(token, absl::StrCat("with id ", Printable(value),
                                               "; expected an integer in [0, ", kMaxTokenId, "]"));
  }

  absl::Status IndexPieces(const std::vector<Piece>& pieces) {
    bpe_.pieces_ = PieceTable(pieces.size());
    std::vector<int32_t> owner;  // By id, an index into pieces; -1: none.
    for (const Piece& piece : pieces) {
      const absl::string_view text(bpe_.texts_.data() + piece.begin, piece.size);
      if (static_cast<size_t>(piece.id) >= owner.size()) {
        owner.resize(std::max<size_t>(piece.id + 1, 2 * owner.size()), -1);
      }
      if (owner[piece.id] >= 0) {
        const Piece& other = pieces[owner[piece.id]];
        return VocabularyError(
            text, absl::StrCat("and \"", Printable({bpe_.texts_.data() + other.begin, other.size}),
                               "\" with the same id ", piece.id));
      }
      owner[piece.id] = static_cast<int32_t>(&piece - pieces.data());
      if (bpe_.pieces_.Add(text, piece.id)) return VocabularyError(text, "twice");
    }
    return absl::OkStatus();
  }

  absl::Status VocabularyError(absl::string_view token, absl::string_view what) const {
    return model_.Error("vocab", absl::StrCat("holds \"", Printable(token), "\" ", what));
  }

  absl::Status ReadMerges() {
    const RawValue& raw = document_.merges;
    if (raw.text.empty() || raw.text[0] != '[') return model_.Error("merges", "is not a list");
    const size_t most = std::min(raw.text.size() / 4, static_cast<size_t>(kMaxMerges));
    std::vector<std::pair<uint64_t, Merge>> merges;  // left << 32 | right
    merges.reserve(std::min(most, 3 * bpe_.pieces_.size() + 1));
    std::vector<bool> made;
    JsonCursor cursor(raw.text, raw.offset);
    cursor.Take('[');
    bool first = true;
    MergeText merge;
    while (cursor.More(']', &first)) {
      const int32_t rank = static_cast<int32_t>(merges.size());
      if (rank >= kMaxMerges) {
        return model_.Error("merges", absl::StrCat("holds more than ", kMaxMerges));
      }
      if (!TakeMerge(&cursor, &merge)) break;
      if (merge.problem != nullptr) {
        return model_.Error(absl::StrCat("merges[", rank, "]"), merge.problem);
      }
      const absl::string_view joined = merge.joined;
      const auto left = bpe_.IdOf(joined.substr(0, merge.left_size));
      const auto right = bpe_.IdOf(joined.substr(merge.left_size));
      const auto id = bpe_.IdOf(joined);
      if (!left || !right || !id) return MissingPiece(rank, merge, !left, !right);
      merges.emplace_back(static_cast<uint64_t>(*left) << 32 | static_cast<uint32_t>(*right),
                          Merge{rank, *id});
      NoteMade(joined, *id, &made);
      NotePart(*left);
      NotePart(*right);
    }
    if (!cursor.ok()) return model_.Error("merges", cursor.error());
    bpe_.merges_ = MergeTable(merges.size());
    for (const auto& [pair, value] : merges) {
      bpe_.merges_.Add(static_cast<int32_t>(pair >> 32), static_cast<int32_t>(pair & 0xFFFFFFFFu),
                       value);
    }
    return absl::OkStatus();
  }

  absl::Status MissingPiece(int32_t rank, const MergeText& merge, bool left, bool right) const {
    const absl::string_view joined = merge.joined;
    const absl::string_view missing = left    ? joined.substr(0, merge.left_size)
                                      : right ? joined.substr(merge.left_size)
                                              : joined;
    return model_.Error(
        absl::StrCat("merges[", rank, "]"),
        absl::StrCat("needs \"", Printable(missing), "\", which is not in the vocabulary"));
  }

  // Some merge takes token `id`.
  void NotePart(int32_t id) {
    if (static_cast<size_t>(id) >= is_part_.size()) is_part_.resize(2 * id + 1);
    is_part_[id] = true;
  }
  bool IsPart(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < is_part_.size() && is_part_[id];
  }

  // Some merge makes token `id`.
  void NoteMade(absl::string_view piece, int32_t id, std::vector<bool>* made) {
    if (static_cast<size_t>(id) >= made->size()) made->resize(2 * id + 1);
    if ((*made)[id]) return;
    (*made)[id] = true;
    if (!bpe_.byte_level_) return bpe_.cuts_.Add(piece);
    bytes_.clear();
    AppendFromByteAlphabet(piece, &bytes_);
    bpe_.cuts_.Add(bytes_);
  }

  // What bytes and characters are before the first merge.
  absl::Status ReadFirstSymbols() {
    RETORT_ASSIGN_OR_RETURN(const bool byte_fallback, model_.Bool("byte_fallback", false));
    bool every_byte = true;
    if (bpe_.byte_level_) {
      for (int byte = 0; byte < 256; ++byte) {
        bpe_.byte_ids_[byte] = bpe_.IdOf(ByteCharacter(static_cast<uint8_t>(byte))).value_or(-1);
        every_byte = every_byte && bpe_.byte_ids_[byte] >= 0;
      }
      if (byte_fallback && !every_byte) {
        return model_.Unknown("byte_fallback",
                              "true for a byte-level vocabulary without every byte", "false there");
      }
    } else {
      bpe_.character_ids_.assign(0x10000, -1);
      for (const auto& [piece, id] : bpe_.pieces_.entries()) {
        if (piece.empty() || piece.size() > 3 || CharacterBytes(piece[0]) != piece.size()) continue;
        bpe_.character_ids_[CodePoint(piece)] = id;
      }
      for (int byte = 0; byte < 256 && byte_fallback; ++byte) {
        bpe_.fallback_ids_.push_back(bpe_.IdOf(absl::StrFormat("<0x%02X>", byte)).value_or(-1));
        every_byte = every_byte && bpe_.fallback_ids_.back() >= 0;
      }
      every_byte = every_byte && byte_fallback;
    }
    // Cuts know what tokens spell. Where a token that does not spell its text could merge, or be
    // fused with its like, they would be wrong.
    const bool unknown_merges = bpe_.unknown_id_ && IsPart(*bpe_.unknown_id_);
    const bool bytes_merge = std::any_of(bpe_.fallback_ids_.begin(), bpe_.fallback_ids_.end(),
                                         [this](int32_t id) { return IsPart(id); });
    const bool unknown_fuses = bpe_.fuse_unknown_ && bpe_.unknown_id_ && !every_byte;
    bpe_.may_cut_ = !unknown_merges && !bytes_merge && !unknown_fuses;
    return absl::OkStatus();
  }

  const JsonObject& model_;
  const TokenizerDocument& document_;
  BpeModel bpe_;
  std::string bytes_;
  std::vector<bool> is_part_;  // By id.
};

absl::StatusOr<BpeModel> BpeModel::Make(const JsonObject& tokenizer,
                                        const TokenizerDocument& document, bool byte_level) {
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
  return BpeReader(model, document, byte_level).Read();
}

}  // namespace retort::text
