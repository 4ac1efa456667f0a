#include "common/text/tokenizer_loader.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/text/byte_level.h"
#include "common/text/tokenizer_json.h"
#include "common/text/vocab_merges.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

constexpr absl::string_view kTokenizerFile = "tokenizer.json";
constexpr absl::string_view kVocabFile = "vocab.json";
constexpr absl::string_view kMergesFile = "merges.txt";
constexpr absl::string_view kAddedTokensFile = "added_tokens.json";
constexpr absl::string_view kConfigFile = "tokenizer_config.json";
constexpr absl::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581

// Vocabularies of kinds that this room does not read.
constexpr std::pair<absl::string_view, absl::string_view> kOtherFiles[] = {
    {"tokenizer.model", "a SentencePiece or tiktoken model"},
    {"spiece.model", "a SentencePiece model"},
    {"sentencepiece.bpe.model", "a SentencePiece model"},
    {"tekken.json", "a Tekken vocabulary"},
    {"vocab.txt", "a WordPiece vocabulary"},
};

// Fills `file` with folder/name, which may be missing.
absl::Status ReadOptional(const std::string& folder, absl::string_view name, std::string* file) {
  const std::string path = absl::StrCat(folder, "/", name);
  if (!FileExists(path)) return absl::OkStatus();
  RETORT_ASSIGN_OR_RETURN(*file, ReadFile(path, kMaxTokenizerFileBytes));
  if (!file->empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, " is empty"));
}

// Fills parts->entries from the vocabulary and the added tokens.
absl::Status NumberTokens(const std::string& where, TokenizerParts* parts) {
  int32_t largest = -1;
  for (const auto& [piece, id] : parts->model.pieces().entries()) largest = std::max(largest, id);
  for (const AddedToken& token : parts->added.tokens()) largest = std::max(largest, token.id);
  parts->entries.resize(largest + 1);
  for (const auto& [piece, id] : parts->model.pieces().entries()) {
    parts->entries[id].piece = piece;
    parts->entries[id].present = true;
  }
  for (const int32_t id : parts->model.fallback_ids()) {
    if (id >= 0) parts->entries[id].byte_fallback = true;
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
    entry = {token.content,          token.content, /*present=*/true, /*added=*/true, token.special,
             /*byte_fallback=*/false};
  }
  return absl::OkStatus();
}

// Fills the bytes of the entries.
void SpellTokens(TokenizerParts* parts) {
  size_t most = 256;
  for (const TokenEntry& entry : parts->entries) most += entry.piece.size();
  std::vector<char>& bytes = parts->bytes;
  bytes.reserve(most);  // Views stay valid.
  std::string spelled;
  const auto keep = [&](absl::string_view text) {
    const size_t begin = bytes.size();
    bytes.insert(bytes.end(), text.begin(), text.end());
    return absl::string_view(bytes.data() + begin, text.size());
  };
  const bool byte_level = parts->pre_tokenizer.byte_level();
  for (TokenEntry& entry : parts->entries) {
    if (entry.added || entry.byte_fallback) continue;
    spelled.clear();
    if (byte_level) {
      AppendFromByteAlphabet(entry.piece, &spelled);
    } else {
      for (size_t done = 0; done < entry.piece.size();) {
        const size_t mark = std::min(entry.piece.find(kSpaceMark, done), entry.piece.size());
        spelled.append(entry.piece.data() + done, mark - done);
        if (mark < entry.piece.size()) spelled.push_back(' ');
        done = mark + kSpaceMark.size();
      }
    }
    entry.bytes = spelled == entry.piece ? entry.piece : keep(spelled);
  }
  const std::vector<int32_t>& fallback = parts->model.fallback_ids();
  for (size_t byte = 0; byte < fallback.size(); ++byte) {
    if (fallback[byte] < 0 || !parts->entries[fallback[byte]].byte_fallback) continue;
    const char c = static_cast<char>(byte);
    parts->entries[fallback[byte]].bytes = keep({&c, 1});
  }
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
                                               const TokenizerParts& parts) {
  const nlohmann::json* value = config.Find(key);
  if (value == nullptr) return std::nullopt;
  std::string name;
  if (value->is_object()) {
    RETORT_ASSIGN_OR_RETURN(const JsonObject token, config.Object(key));
    RETORT_ASSIGN_OR_RETURN(name, token.String("content"));
  } else {
    RETORT_ASSIGN_OR_RETURN(name, config.String(key));
  }
  std::optional<int32_t> id = parts.added.IdOf(name);
  if (!id) id = parts.model.IdOf(name);
  if (!id)
    return config.Error(key,
                        absl::StrCat("is \"", Printable(name), "\", which tokenizer.json lacks"));
  return id;
}

absl::Status ReadConfig(absl::string_view text, const std::string& source, TokenizerParts* parts) {
  if (text.empty()) return absl::OkStatus();
  RETORT_ASSIGN_OR_RETURN(const nlohmann::json json,
                          ReadMembers(text, source, {"bos_token", "eos_token", "pad_token"}));
  RETORT_ASSIGN_OR_RETURN(const JsonObject config, JsonObject::Make(json, source));
  RETORT_ASSIGN_OR_RETURN(parts->bos_id, NamedId(config, "bos_token", *parts));
  RETORT_ASSIGN_OR_RETURN(parts->eos_id, NamedId(config, "eos_token", *parts));
  RETORT_ASSIGN_OR_RETURN(parts->pad_id, NamedId(config, "pad_token", *parts));
  return absl::OkStatus();
}

// `truncation` and `padding` of the file are left alone, as Hugging Face's transformers does:
// whoever calls decides lengths.
absl::StatusOr<std::unique_ptr<TokenizerParts>> ReadParts(const TokenizerDocument& document,
                                                          const std::string& source) {
  RETORT_ASSIGN_OR_RETURN(const JsonObject root, JsonObject::Make(document.tree, source));
  RETORT_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Make(root));
  RETORT_ASSIGN_OR_RETURN(BpeModel model,
                          BpeModel::Make(root, document, pre_tokenizer.byte_level()));
  auto parts = std::make_unique<TokenizerParts>(std::move(model));
  parts->pre_tokenizer = std::move(pre_tokenizer);
  RETORT_ASSIGN_OR_RETURN(parts->normalizer, Normalizer::Make(root));
  RETORT_ASSIGN_OR_RETURN(parts->added, AddedTokens::Make(root, parts->normalizer));
  RETORT_ASSIGN_OR_RETURN(parts->post_processor, PostProcessor::Make(root));
  RETORT_ASSIGN_OR_RETURN(parts->decoder, Decoder::Make(root));
  RETORT_RETURN_IF_ERROR(NumberTokens(source, parts.get()));
  SpellTokens(parts.get());
  RETORT_RETURN_IF_ERROR(CheckTemplate(source, *parts));
  return parts;
}

}  // namespace

absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(const std::string& folder) {
  const auto path = [&](absl::string_view name) { return absl::StrCat(folder, "/", name); };
  TokenizerFiles files;
  RETORT_RETURN_IF_ERROR(ReadOptional(folder, kConfigFile, &files.config_json));
  RETORT_RETURN_IF_ERROR(ReadOptional(folder, kTokenizerFile, &files.tokenizer_json));
  if (!files.tokenizer_json.empty()) return files;
  if (FileExists(path(kVocabFile)) && FileExists(path(kMergesFile))) {
    RETORT_RETURN_IF_ERROR(ReadOptional(folder, kVocabFile, &files.vocab_json));
    RETORT_RETURN_IF_ERROR(ReadOptional(folder, kMergesFile, &files.merges_txt));
    RETORT_RETURN_IF_ERROR(ReadOptional(folder, kAddedTokensFile, &files.added_tokens_json));
    return files;
  }
  for (const auto& [name, kind] : kOtherFiles) {
    if (!FileExists(path(name))) continue;
    return absl::UnimplementedError(absl::StrCat(
        path(name), " is ", kind, "; this build reads ", kTokenizerFile, ", or ", kVocabFile,
        " and ", kMergesFile, "; save the tokenizer with transformers' AutoTokenizer to get ",
        kTokenizerFile));
  }
  return ReadFile(path(kTokenizerFile), 0).status();  // Says that there is none.
}

absl::StatusOr<std::unique_ptr<TokenizerParts>> MakeTokenizerParts(const TokenizerFiles& files,
                                                                   absl::string_view source) {
  std::string tokenizer_source = absl::StrCat(source, "/", kTokenizerFile);
  TokenizerDocument document;
  if (files.vocab_json.empty()) {
    RETORT_ASSIGN_OR_RETURN(document,
                            ReadTokenizerDocument(files.tokenizer_json, tokenizer_source));
  } else {
    tokenizer_source = absl::StrCat(source, "/(", kVocabFile, ", ", kMergesFile, ")");
    RETORT_ASSIGN_OR_RETURN(document, ReadVocabMerges({files.vocab_json, files.merges_txt,
                                                       files.added_tokens_json, files.config_json},
                                                      source));
  }
  RETORT_ASSIGN_OR_RETURN(std::unique_ptr<TokenizerParts> parts,
                          ReadParts(document, tokenizer_source));
  RETORT_RETURN_IF_ERROR(
      ReadConfig(files.config_json, absl::StrCat(source, "/", kConfigFile), parts.get()));
  Hasher hasher;
  for (const std::string* file : {&files.tokenizer_json, &files.vocab_json, &files.merges_txt,
                                  &files.added_tokens_json, &files.config_json}) {
    hasher.Update(absl::StrCat(file->size(), ":"));
    hasher.Update(*file);
  }
  parts->digest = hasher.Finish();
  return parts;
}

}  // namespace retort::text
