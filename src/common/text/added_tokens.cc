#include "common/text/added_tokens.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace retort::text {

void StringSet::Add(absl::string_view text, int32_t id) {
  uint32_t node = 0;
  for (const char c : text) {
    const uint64_t edge = static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(c);
    const auto [it, inserted] = edges_.try_emplace(edge, static_cast<uint32_t>(nodes_.size()));
    if (inserted) nodes_.emplace_back();
    node = it->second;
  }
  nodes_[node].id = id;
}

std::optional<StringSet::Hit> StringSet::FindFrom(absl::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size() && !edges_.empty(); ++begin) {
    std::optional<Hit> longest;
    uint32_t node = 0;
    for (size_t i = begin; i < text.size(); ++i) {
      const auto it = edges_.find(static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(text[i]));
      if (it == edges_.end()) break;
      node = it->second;
      if (nodes_[node].id >= 0) longest = Hit{begin, i + 1, nodes_[node].id};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

namespace {

absl::StatusOr<AddedToken> ReadToken(const JsonObject& spec) {
  AddedToken token;
  RETORT_ASSIGN_OR_RETURN(const int64_t id, spec.Integer("id", 0, kMaxTokenId));
  token.id = static_cast<int32_t>(id);
  RETORT_ASSIGN_OR_RETURN(token.content, spec.String("content"));
  RETORT_ASSIGN_OR_RETURN(token.special, spec.Bool("special", false));
  RETORT_ASSIGN_OR_RETURN(token.normalized, spec.Bool("normalized", !token.special));
  for (const absl::string_view flag : {"single_word", "lstrip", "rstrip"}) {
    RETORT_ASSIGN_OR_RETURN(const bool set, spec.Bool(flag, false));
    if (set) {
      return spec.Unknown(flag, absl::StrCat("true for \"", token.content, "\""), "false");
    }
  }
  return token;
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
  absl::flat_hash_set<std::string> contents;
  absl::flat_hash_set<int32_t> ids;
  for (const JsonObject& spec : specs) {
    RETORT_ASSIGN_OR_RETURN(AddedToken token, ReadToken(spec));
    if (!contents.insert(token.content).second) return spec.Error("content", "appears twice");
    if (!ids.insert(token.id).second) return spec.Error("id", "appears twice");
    std::string searched = token.content;
    if (token.normalized) {
      absl::StatusOr<std::string> normalized = normalizer.Normalize(token.content);
      RETORT_RETURN_IF_ERROR(WithContext(normalized.status(), spec.where()));
      searched = *std::move(normalized);
    }
    if (!searched.empty())
      (token.normalized ? added.normalized_ : added.raw_).Add(searched, token.id);
    added.tokens_.push_back(std::move(token));
  }
  return added;
}

std::vector<Piece> AddedTokens::Cut(absl::string_view text, bool normalized) const {
  const StringSet& set = normalized ? normalized_ : raw_;
  std::vector<Piece> pieces;
  size_t done = 0;
  while (const std::optional<StringSet::Hit> hit = set.FindFrom(text, done)) {
    if (hit->begin > done) {
      pieces.push_back({std::string(text.substr(done, hit->begin - done)), std::nullopt});
    }
    pieces.push_back({std::string(text.substr(hit->begin, hit->end - hit->begin)), hit->id});
    done = hit->end;
  }
  if (done < text.size()) pieces.push_back({std::string(text.substr(done)), std::nullopt});
  return pieces;
}

}  // namespace retort::text
