#include "common/text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/tokenizer_json.h"
#include "common/text/tokenizer_parts.h"

namespace retort::text {
namespace {

constexpr size_t kMaxTextBytes = 64 << 20;
constexpr absl::string_view kTokenizerFile = "tokenizer.json";
constexpr absl::string_view kConfigFile = "tokenizer_config.json";

// Fills parts->entries from the vocabulary and the added tokens.
absl::Status NumberTokens(const std::string& where, TokenizerParts* parts) {
  int32_t largest = -1;
  for (const auto& [piece, id] : parts->model.vocabulary()) largest = std::max(largest, id);
  for (const AddedToken& token : parts->added.tokens()) largest = std::max(largest, token.id);
  parts->entries.resize(largest + 1);
  for (const auto& [piece, id] : parts->model.vocabulary()) {
    parts->entries[id] = {piece, /*present=*/true, /*special=*/false};
  }
  for (const AddedToken& token : parts->added.tokens()) {
    const auto in_vocabulary = parts->model.IdOf(token.content);
    TokenEntry& entry = parts->entries[token.id];
    if ((in_vocabulary && *in_vocabulary != token.id) ||
        (entry.present && entry.piece != token.content)) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, ".added_tokens gives \"", Printable(token.content), "\" the id ", token.id,
          in_vocabulary
              ? absl::StrCat("; model.vocab gives it ", *in_vocabulary)
              : absl::StrCat("; model.vocab gives that to \"", Printable(entry.piece), "\"")));
    }
    entry = {token.content, /*present=*/true, token.special};
  }
  return absl::OkStatus();
}

absl::Status CheckTemplate(const std::string& where, const TokenizerParts& parts) {
  for (const auto* ids : {&parts.post_processor.before, &parts.post_processor.after}) {
    for (const int64_t id : *ids) {
      RETORT_RETURN_IF_ERROR(
          WithContext(parts.Entry(id).status(), absl::StrCat(where, ".post_processor")));
    }
  }
  return absl::OkStatus();
}

// The id that `key` of tokenizer_config.json names: a string or an object with `content`.
absl::StatusOr<std::optional<int64_t>> NamedId(const JsonObject& config, absl::string_view key,
                                               const Tokenizer& tokenizer) {
  const nlohmann::json* value = config.Find(key);
  if (value == nullptr) return std::nullopt;
  std::string name;
  if (value->is_object()) {
    RETORT_ASSIGN_OR_RETURN(const JsonObject token, config.Object(key));
    RETORT_ASSIGN_OR_RETURN(name, token.String("content"));
  } else {
    RETORT_ASSIGN_OR_RETURN(name, config.String(key));
  }
  const std::optional<int64_t> id = tokenizer.IdOf(name);
  if (!id)
    return config.Error(key,
                        absl::StrCat("is \"", Printable(name), "\", which tokenizer.json lacks"));
  return id;
}

// `truncation` and `padding` of the file are left alone, as Hugging Face's transformers does:
// whoever calls decides lengths.
absl::Status ReadTokenizer(absl::string_view text, const std::string& source,
                           TokenizerParts* parts) {
  RETORT_ASSIGN_OR_RETURN(const nlohmann::json json, ParseSortedJson(text, source));
  RETORT_ASSIGN_OR_RETURN(const JsonObject root, JsonObject::Make(json, source));
  RETORT_ASSIGN_OR_RETURN(parts->normalizer, Normalizer::Make(root));
  RETORT_ASSIGN_OR_RETURN(parts->added, AddedTokens::Make(root, parts->normalizer));
  RETORT_ASSIGN_OR_RETURN(parts->pre_tokenizer, PreTokenizer::Make(root));
  RETORT_ASSIGN_OR_RETURN(parts->model, BpeModel::Make(root));
  RETORT_ASSIGN_OR_RETURN(parts->post_processor, PostProcessor::Make(root));
  RETORT_ASSIGN_OR_RETURN(parts->decoder, Decoder::Make(root));
  RETORT_RETURN_IF_ERROR(NumberTokens(source, parts));
  return CheckTemplate(source, *parts);
}

}  // namespace

absl::StatusOr<const TokenEntry*> TokenizerParts::Entry(int64_t id) const {
  if (id < 0 || id >= static_cast<int64_t>(entries.size()) || !entries[id].present) {
    return absl::InvalidArgumentError(absl::StrCat("token id ", id, " is not in the tokenizer (",
                                                   entries.size(), " ids from 0)"));
  }
  return &entries[id];
}

Tokenizer::Tokenizer(std::unique_ptr<TokenizerParts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& folder) {
  RETORT_ASSIGN_OR_RETURN(
      const std::string tokenizer,
      ReadFile(absl::StrCat(folder, "/", kTokenizerFile), kMaxTokenizerFileBytes));
  const std::string config_path = absl::StrCat(folder, "/", kConfigFile);
  std::string config;
  if (FileExists(config_path)) {
    RETORT_ASSIGN_OR_RETURN(config, ReadFile(config_path, kMaxTokenizerFileBytes));
  }
  return Parse(tokenizer, config, folder);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Parse(absl::string_view tokenizer_json,
                                                            absl::string_view config_json,
                                                            absl::string_view source) {
  const std::string tokenizer_source = absl::StrCat(source, "/", kTokenizerFile);
  const std::string config_source = absl::StrCat(source, "/", kConfigFile);
  auto owned = std::make_unique<TokenizerParts>();
  TokenizerParts* parts = owned.get();
  RETORT_RETURN_IF_ERROR(ReadTokenizer(tokenizer_json, tokenizer_source, parts));
  Hasher hasher;
  hasher.Update(absl::StrCat(tokenizer_json.size(), ":"));
  hasher.Update(tokenizer_json);
  hasher.Update(config_json);
  parts->digest = hasher.Finish();
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(owned)));
  if (config_json.empty()) return tokenizer;
  RETORT_ASSIGN_OR_RETURN(const nlohmann::json json, ParseSortedJson(config_json, config_source));
  RETORT_ASSIGN_OR_RETURN(const JsonObject config, JsonObject::Make(json, config_source));
  RETORT_ASSIGN_OR_RETURN(parts->bos_id, NamedId(config, "bos_token", *tokenizer));
  RETORT_ASSIGN_OR_RETURN(parts->eos_id, NamedId(config, "eos_token", *tokenizer));
  RETORT_ASSIGN_OR_RETURN(parts->pad_id, NamedId(config, "pad_token", *tokenizer));
  return tokenizer;
}

absl::StatusOr<std::vector<int64_t>> Tokenizer::Encode(absl::string_view text,
                                                       bool add_special_tokens) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat("text of ", text.size(), " bytes; at most ",
                                                   kMaxTextBytes, " are encoded at once"));
  }
  if (const std::optional<size_t> bad = FirstInvalidByte(text)) {
    return absl::InvalidArgumentError(absl::StrCat("text is not UTF-8 at byte ", *bad));
  }
  std::vector<int64_t> ids;
  if (add_special_tokens) ids = parts_->post_processor.before;
  for (const Piece& raw : parts_->added.Cut(text, /*normalized=*/false)) {
    if (raw.id) {
      ids.push_back(*raw.id);
      continue;
    }
    RETORT_ASSIGN_OR_RETURN(const std::string normalized, parts_->normalizer.Normalize(raw.text));
    for (Piece& piece : parts_->added.Cut(normalized, /*normalized=*/true)) {
      if (piece.id) {
        ids.push_back(*piece.id);
        continue;
      }
      RETORT_ASSIGN_OR_RETURN(const Words words, parts_->pre_tokenizer.Cut(std::move(piece.text)));
      for (const std::string& word : words)
        RETORT_RETURN_IF_ERROR(parts_->model.Encode(word, &ids));
    }
  }
  if (add_special_tokens) {
    ids.insert(ids.end(), parts_->post_processor.after.begin(), parts_->post_processor.after.end());
  }
  return ids;
}

absl::StatusOr<std::string> Tokenizer::Decode(absl::Span<const int64_t> ids,
                                              bool skip_special_tokens) const {
  std::string text;
  DecodeStream stream(parts_->decoder);
  for (const int64_t id : ids) {
    RETORT_ASSIGN_OR_RETURN(const TokenEntry* entry, parts_->Entry(id));
    if (skip_special_tokens && entry->special) continue;
    stream.Push(entry->piece, &text);
  }
  stream.Finish(&text);
  return text;
}

int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(parts_->entries.size()); }
std::optional<int64_t> Tokenizer::bos_id() const { return parts_->bos_id; }
std::optional<int64_t> Tokenizer::eos_id() const { return parts_->eos_id; }
std::optional<int64_t> Tokenizer::pad_id() const { return parts_->pad_id; }
Digest Tokenizer::digest() const { return parts_->digest; }

std::optional<int64_t> Tokenizer::IdOf(absl::string_view token) const {
  for (const AddedToken& added : parts_->added.tokens()) {
    if (added.content == token) return added.id;
  }
  return parts_->model.IdOf(token);
}

}  // namespace retort::text
