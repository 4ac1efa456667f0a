#include "common/text/bpe.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/byte_level.h"
#include "common/text/word_merger.h"

namespace retort::text {

int32_t BpeModel::CharacterId(absl::string_view character) const {
  if (character.size() < 4) return character_ids_[CodePoint(character)];
  return IdOf(character).value_or(-1);
}

absl::Status BpeModel::AppendUnknown(absl::string_view character, bool after_unknown,
                                     std::vector<Token>* symbols) const {
  if (!unknown_id_) {
    if (byte_level_) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the tokenizer's vocabulary has no token for the byte 0x%02X and no "
                          "unknown token",
                          static_cast<uint8_t>(character[0])));
    }
    return absl::InvalidArgumentError(
        absl::StrFormat("the tokenizer's vocabulary has no token for the character '%s' (U+%04X) "
                        "and no unknown token",
                        Printable(character), static_cast<uint32_t>(CodePoint(character))));
  }
  const uint32_t bytes = static_cast<uint32_t>(character.size());
  if (after_unknown && fuse_unknown_) {
    symbols->back().bytes += bytes;
  } else {
    symbols->push_back({*unknown_id_, bytes});
  }
  return absl::OkStatus();
}

absl::Status BpeModel::AppendBytes(absl::string_view part, std::vector<Token>* symbols) const {
  bool after_unknown = false;
  for (size_t i = 0; i < part.size(); ++i) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(part[i])];
    if (id >= 0) {
      symbols->push_back({id, 1});
    } else {
      RETORT_RETURN_IF_ERROR(AppendUnknown(part.substr(i, 1), after_unknown, symbols));
    }
    after_unknown = id < 0;
  }
  return absl::OkStatus();
}

absl::Status BpeModel::AppendCharacters(absl::string_view part, std::vector<Token>* symbols) const {
  bool after_unknown = false;
  for (size_t i = 0; i < part.size();) {
    const absl::string_view character = part.substr(i, CharacterBytes(part[i]));
    i += character.size();
    const int32_t id = CharacterId(character);
    const auto fallback = [&](char c) { return fallback_ids_[static_cast<uint8_t>(c)]; };
    if (id >= 0) {
      symbols->push_back({id, static_cast<uint32_t>(character.size())});
      after_unknown = false;
    } else if (!fallback_ids_.empty() && std::all_of(character.begin(), character.end(),
                                                     [&](char c) { return fallback(c) >= 0; })) {
      for (const char c : character) symbols->push_back({fallback(c), 1});
      after_unknown = false;
    } else {
      RETORT_RETURN_IF_ERROR(AppendUnknown(character, after_unknown, symbols));
      after_unknown = true;
    }
  }
  return absl::OkStatus();
}

absl::Status BpeModel::EncodeUncached(absl::string_view part, bool whole_word,
                                      std::vector<Token>* tokens) const {
  if (ignore_merges_ && whole_word) {
    if (const auto id = byte_level_ ? IdOf(ToByteAlphabet(part)) : IdOf(part)) {
      tokens->push_back({*id, static_cast<uint32_t>(part.size())});
      return absl::OkStatus();
    }
  }
  std::vector<Token> symbols;
  symbols.reserve(part.size());
  RETORT_RETURN_IF_ERROR(byte_level_ ? AppendBytes(part, &symbols)
                                     : AppendCharacters(part, &symbols));
  MergeSymbols(merges_, absl::MakeSpan(symbols), tokens);
  return absl::OkStatus();
}

absl::Status BpeModel::EncodePart(absl::string_view part, bool whole_word, WordCache* cache,
                                  std::vector<Token>* tokens) const {
  if (part.size() > WordCache::kMaxWordBytes) return EncodeUncached(part, whole_word, tokens);
  const WordCache::Key key = WordCache::MakeKey(part, /*part=*/!whole_word && ignore_merges_);
  if (cache->Find(key, tokens)) return absl::OkStatus();
  const size_t before = tokens->size();
  RETORT_RETURN_IF_ERROR(EncodeUncached(part, whole_word, tokens));
  cache->Put(key, absl::MakeConstSpan(*tokens).subspan(before));
  return absl::OkStatus();
}

absl::Status BpeModel::Encode(absl::string_view word, WordCache* cache,
                              std::vector<Token>* tokens) const {
  if (word.size() <= WordCache::kMaxWordBytes || !may_cut_) {
    return EncodePart(word, /*whole_word=*/true, cache, tokens);
  }
  if (ignore_merges_) {
    if (const auto id = byte_level_ ? IdOf(ToByteAlphabet(word)) : IdOf(word)) {
      tokens->push_back({*id, static_cast<uint32_t>(word.size())});
      return absl::OkStatus();
    }
  }
  for (size_t begin = 0; begin < word.size();) {
    const size_t end = cuts_.PartEnd(word, begin);
    RETORT_RETURN_IF_ERROR(
        EncodePart(word.substr(begin, end - begin), /*whole_word=*/false, cache, tokens));
    begin = end;
  }
  return absl::OkStatus();
}

}  // namespace retort::text
