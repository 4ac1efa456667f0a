#include "common/text/added_tokens.h"

#include <utf8proc.h>

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/char_class.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

absl::StatusOr<AddedToken> ReadToken(const JsonObject& spec) {
  AddedToken token;
  RETORT_ASSIGN_OR_RETURN(const int64_t id, spec.Integer("id", 0, kMaxTokenId));
  token.id = static_cast<int32_t>(id);
  RETORT_ASSIGN_OR_RETURN(token.content, spec.String("content"));
  RETORT_ASSIGN_OR_RETURN(token.special, spec.Bool("special", false));
  RETORT_ASSIGN_OR_RETURN(token.normalized, spec.Bool("normalized", !token.special));
  RETORT_ASSIGN_OR_RETURN(token.lstrip, spec.Bool("lstrip", false));
  RETORT_ASSIGN_OR_RETURN(token.rstrip, spec.Bool("rstrip", false));
  RETORT_ASSIGN_OR_RETURN(token.single_word, spec.Bool("single_word", false));
  return token;
}

bool IsWhiteSpace(absl::string_view character) {
  return (CharClassTable::Of(CodePoint(character)) & kSpace) != 0;
}

// Rust's \w: Alphabetic, marks, decimal digits, connectors, joiners.
bool IsWordCharacter(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
             (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
             (c >= 0x1F170 && c <= 0x1F189);
  }
}

size_t WhiteSpaceAtStart(absl::string_view text) {
  size_t bytes = 0;
  while (bytes < text.size() && IsWhiteSpace(text.substr(bytes))) {
    bytes += CharacterBytes(text[bytes]);
  }
  return bytes;
}

size_t WhiteSpaceAtEnd(absl::string_view text) {
  size_t begin = text.size();
  while (begin > 0) {
    size_t character = begin - 1;
    while (character > 0 && (text[character] & 0xC0) == 0x80) --character;
    if (!IsWhiteSpace(text.substr(character))) break;
    begin = character;
  }
  return text.size() - begin;
}

}  // namespace

absl::StatusOr<AddedTokens> AddedTokens::Make(const JsonObject& tokenizer,
                                              const Normalizer& normalizer) {
  AddedTokens added;
  if (tokenizer.Find("added_tokens") == nullptr) return added;
  RETORT_ASSIGN_OR_RETURN(const std::vector<JsonObject> specs, tokenizer.Objects("added_tokens"));
  if (specs.size() > static_cast<size_t>(kMaxAddedTokens)) {
    return tokenizer.Error("added_tokens",
                           absl::StrCat("holds ", specs.size(), "; at most ", kMaxAddedTokens));
  }
  absl::flat_hash_set<int32_t> ids;
  std::vector<std::pair<std::string, int32_t>> raw, normalized;
  for (const JsonObject& spec : specs) {
    RETORT_ASSIGN_OR_RETURN(AddedToken token, ReadToken(spec));
    if (!added.id_of_.try_emplace(token.content, token.id).second) {
      return spec.Error("content", "appears twice");
    }
    if (!ids.insert(token.id).second) return spec.Error("id", "appears twice");
    std::string searched = token.content;
    if (token.normalized) {
      absl::StatusOr<std::string> normal = normalizer.Normalize(token.content);
      RETORT_RETURN_IF_ERROR(WithContext(normal.status(), spec.where()));
      searched = *std::move(normal);
    }
    if (!searched.empty()) {
      (token.normalized ? normalized : raw).emplace_back(std::move(searched), token.id);
    }
    if (token.single_word) added.single_words_.insert(token.id);
    if (token.lstrip || token.rstrip) added.strips_[token.id] = {token.lstrip, token.rstrip};
    added.tokens_.push_back(std::move(token));
  }
  added.raw_ = StringSet(std::move(raw));
  added.normalized_ = StringSet(std::move(normalized));
  return added;
}

bool AddedTokens::Allowed(StringSet::Hit hit, absl::string_view text) const {
  if (!single_words_.contains(hit.id)) return true;
  if (hit.end < text.size() && IsWordCharacter(CodePoint(text.substr(hit.end)))) return false;
  if (hit.begin == 0) return true;
  size_t before = hit.begin - 1;
  while (before > 0 && (text[before] & 0xC0) == 0x80) --before;
  return !IsWordCharacter(CodePoint(text.substr(before)));
}

StringSet::Hit AddedTokens::Widened(StringSet::Hit hit, absl::string_view text, size_t done) const {
  if (strips_.empty()) return hit;
  const auto strip = strips_.find(hit.id);
  if (strip == strips_.end()) return hit;
  const auto [left, right] = strip->second;
  if (left && done < hit.begin) {
    hit.begin -= WhiteSpaceAtEnd(text.substr(done, hit.begin - done));
  }
  if (right) hit.end += WhiteSpaceAtStart(text.substr(hit.end));
  return hit;
}

std::optional<int32_t> AddedTokens::IdOf(absl::string_view content) const {
  const auto it = id_of_.find(content);
  if (it == id_of_.end()) return std::nullopt;
  return it->second;
}

}  // namespace retort::text
