#include "common/text/tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/encoder.h"
#include "common/text/tokenizer_loader.h"
#include "common/text/tokenizer_parts.h"

namespace retort::text {
namespace {

constexpr size_t kMaxTextBytes = 64 << 20;

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
  RETORT_ASSIGN_OR_RETURN(const TokenizerFiles files, ReadTokenizerFiles(folder));
  RETORT_ASSIGN_OR_RETURN(std::unique_ptr<TokenizerParts> parts, MakeTokenizerParts(files, folder));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(parts)));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Parse(absl::string_view tokenizer_json,
                                                            absl::string_view config_json,
                                                            absl::string_view source) {
  TokenizerFiles files;
  files.tokenizer_json = std::string(tokenizer_json);
  files.config_json = std::string(config_json);
  RETORT_ASSIGN_OR_RETURN(std::unique_ptr<TokenizerParts> parts, MakeTokenizerParts(files, source));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(parts)));
}

absl::Status Tokenizer::Run(absl::string_view text, bool add_special_tokens, bool with_spans,
                            Encoding* out) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat("text of ", text.size(), " bytes; at most ",
                                                   kMaxTextBytes, " are encoded at once"));
  }
  if (const std::optional<size_t> bad = FirstInvalidByte(text)) {
    return absl::InvalidArgumentError(absl::StrCat("text is not UTF-8 at byte ", *bad));
  }
  std::unique_ptr<EncodeScratch> scratch = parts_->scratch.Take();
  const absl::Status status =
      Encoder(*parts_, scratch.get(), text, with_spans, out).Run(add_special_tokens);
  parts_->scratch.Give(std::move(scratch));
  return status;
}

absl::StatusOr<std::vector<int64_t>> Tokenizer::Encode(absl::string_view text,
                                                       bool add_special_tokens) const {
  Encoding encoding;
  RETORT_RETURN_IF_ERROR(Run(text, add_special_tokens, /*with_spans=*/false, &encoding));
  return std::move(encoding.ids);
}

absl::StatusOr<Encoding> Tokenizer::EncodeWithSpans(absl::string_view text,
                                                    bool add_special_tokens) const {
  Encoding encoding;
  RETORT_RETURN_IF_ERROR(Run(text, add_special_tokens, /*with_spans=*/true, &encoding));
  return encoding;
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

bool Tokenizer::HasToken(int64_t id) const {
  return id >= 0 && id < vocab_size() && parts_->entries[id].present;
}

std::vector<int64_t> Tokenizer::IdsWithoutToken(int64_t limit) const {
  std::vector<int64_t> ids;
  for (int64_t id = 0; id < limit; ++id) {
    if (!HasToken(id)) ids.push_back(id);
  }
  return ids;
}

absl::StatusOr<absl::string_view> Tokenizer::TokenBytes(int64_t id) const {
  RETORT_ASSIGN_OR_RETURN(const TokenEntry* entry, parts_->Entry(id));
  return entry->bytes;
}

bool Tokenizer::IsSpecial(int64_t id) const { return HasToken(id) && parts_->entries[id].special; }
bool Tokenizer::IsByteFallback(int64_t id) const {
  return HasToken(id) && parts_->entries[id].byte_fallback;
}

Digest Tokenizer::VocabularyDigest() const {
  Hasher hasher;
  for (size_t id = 0; id < parts_->entries.size(); ++id) {
    const TokenEntry& entry = parts_->entries[id];
    if (!entry.present) continue;
    const char flags[] = {entry.added ? '+' : ' ', entry.special ? 's' : ' ',
                          entry.byte_fallback ? 'b' : ' '};
    hasher.Update(absl::StrCat(id, ":", entry.bytes.size(), ":"));
    hasher.Update(flags, sizeof(flags));
    hasher.Update(entry.bytes);
  }
  return hasher.Finish();
}

std::optional<int64_t> Tokenizer::IdOf(absl::string_view token) const {
  const std::optional<int32_t> added = parts_->added.IdOf(token);
  return added ? added : parts_->model.IdOf(token);
}

}  // namespace retort::text
