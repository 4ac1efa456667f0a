#include "common/text/vocab_merges.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/json_cursor.h"
#include "common/text/split_scanner.h"
#include "common/text/tokenizer_json.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

using nlohmann::json;

constexpr absl::string_view kDefaultSpecial = "<|endoftext|>";  // GPT-2's only one.

absl::Status Bad(absl::string_view source, absl::string_view file, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(source, "/", file, ": ", what));
}

// The lines of merges.txt as a JSON list of strings. A first line "#version…" and empty lines are
// none.
absl::StatusOr<std::string> MergesAsJson(absl::string_view text, absl::string_view source) {
  if (const auto bad = FirstInvalidByte(text)) {
    return Bad(source, "merges.txt", absl::StrCat("not UTF-8 at byte ", *bad));
  }
  std::string list = "[";
  bool first_line = true;
  while (!text.empty()) {
    const size_t size = std::min(text.find('\n'), text.size());
    absl::string_view line = absl::StripSuffix(text.substr(0, size), "\r");
    text.remove_prefix(std::min(size + 1, text.size()));
    const bool version = first_line && absl::StartsWith(line, "#version");
    first_line = false;
    if (line.empty() || version) continue;
    if (list.size() > 1) list.push_back(',');
    absl::StrAppend(&list, DumpJson(json(std::string(line))));
  }
  list.push_back(']');
  return list;
}

// The ids of those of `names` that the object `text` of token -> id holds.
absl::StatusOr<std::map<std::string, json>> Lookup(absl::string_view text, absl::string_view source,
                                                   absl::string_view file,
                                                   const std::set<std::string>& names) {
  std::map<std::string, json> found;
  JsonCursor cursor(text);
  if (cursor.Peek() != '{') return Bad(source, file, "expected an object of tokens and their ids");
  cursor.Take('{');
  bool first = true;
  while (cursor.More('}', &first)) {
    absl::string_view token, value;
    if (!cursor.String(&token)) break;
    const std::string name(token);
    if (!cursor.Take(':') || !cursor.Skip(&value)) break;
    if (names.empty() || names.contains(name)) {
      found[name] = json::parse(value.begin(), value.end(), nullptr, /*allow_exceptions=*/false);
    }
  }
  if (!cursor.End()) return Bad(source, file, cursor.error());
  return found;
}

// The contents of the tokens that tokenizer_config.json names.
absl::StatusOr<std::set<std::string>> NamedTokens(const JsonObject& config) {
  std::set<std::string> names;
  const auto add = [&](absl::string_view key, const json& value) -> absl::Status {
    const json* content = &value;
    if (value.is_object() && value.contains("content")) content = &value["content"];
    if (!content->is_string()) return config.Error(key, "is neither a string nor has a content");
    names.insert(content->get<std::string>());
    return absl::OkStatus();
  };
  for (const absl::string_view key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    const json* value = config.Find(key);
    if (value != nullptr) RETORT_RETURN_IF_ERROR(add(key, *value));
  }
  const json* more = config.Find("additional_special_tokens");
  if (more == nullptr) return names;
  if (!more->is_array()) return config.Error("additional_special_tokens", "is not a list");
  for (const json& value : *more) {
    RETORT_RETURN_IF_ERROR(add("additional_special_tokens", value));
  }
  return names;
}

json AddedEntry(const json& id, const std::string& content, bool special) {
  return {{"id", id}, {"content", content}, {"special", special}, {"normalized", !special}};
}

// added_tokens of the tokenizer.json.
absl::StatusOr<json> AddedTokensOf(const VocabMergesFiles& files, const JsonObject& config,
                                   absl::string_view source) {
  json list = json::array();
  if (const json* decoder = config.Find("added_tokens_decoder")) {
    if (!decoder->is_object()) return config.Error("added_tokens_decoder", "is not an object");
    for (const auto& [id, token] : decoder->items()) {
      int64_t number = 0;
      if (!absl::SimpleAtoi(id, &number) || !token.is_object()) {
        return config.Error("added_tokens_decoder",
                            absl::StrCat("holds \"", Printable(id), "\"; expected ids and tokens"));
      }
      list.push_back(token);
      list.back()["id"] = number;
    }
    return list;
  }
  RETORT_ASSIGN_OR_RETURN(std::set<std::string> named, NamedTokens(config));
  if (named.empty()) named.insert(std::string(kDefaultSpecial));
  std::map<std::string, json> added;
  if (!files.added_tokens_json.empty()) {
    RETORT_ASSIGN_OR_RETURN(added,
                            Lookup(files.added_tokens_json, source, "added_tokens.json", {}));
  }
  for (const auto& [content, id] : added) {
    list.push_back(AddedEntry(id, content, named.contains(content)));
    named.erase(content);
  }
  if (named.empty()) return list;
  RETORT_ASSIGN_OR_RETURN(const auto in_vocabulary,
                          Lookup(files.vocab_json, source, "vocab.json", named));
  for (const auto& [content, id] : in_vocabulary) list.push_back(AddedEntry(id, content, true));
  return list;
}

// The parts that the class of the tokenizer implies.
absl::Status AddParts(const JsonObject& config, json* tree) {
  std::string kind = "GPT2Tokenizer";
  if (config.Find("tokenizer_class") != nullptr) {
    RETORT_ASSIGN_OR_RETURN(kind, config.String("tokenizer_class"));
  }
  const absl::string_view name = absl::StripSuffix(kind, "Fast");
  RETORT_ASSIGN_OR_RETURN(const bool prefix, config.Bool("add_prefix_space", false));
  const json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", prefix}};
  (*tree)["decoder"] = byte_level;
  (*tree)["post_processor"] = byte_level;
  (*tree)["pre_tokenizer"] = byte_level;
  if (name == "Qwen2Tokenizer") {
    json split = {{"type", "Split"},
                  {"behavior", "Isolated"},
                  {"pattern", {{"Regex", std::string(PatternNamed("qwen2"))}}}};
    json bytes = byte_level;
    bytes["use_regex"] = false;
    (*tree)["normalizer"] = {{"type", "NFC"}};
    (*tree)["pre_tokenizer"] = {{"type", "Sequence"},
                                {"pretokenizers", json::array({split, bytes})}};
    return absl::OkStatus();
  }
  if (name != "GPT2Tokenizer") {
    return config.Unknown("tokenizer_class", kind,
                          "GPT2Tokenizer and Qwen2Tokenizer of vocab.json and merges.txt");
  }
  RETORT_ASSIGN_OR_RETURN(const bool add_bos, config.Bool("add_bos_token", false));
  if (!add_bos) return absl::OkStatus();
  const json* bos = config.Find("bos_token");
  if (bos == nullptr) return config.Error("add_bos_token", "is true, and there is no bos_token");
  const json& content = bos->is_object() && bos->contains("content") ? (*bos)["content"] : *bos;
  for (const json& token : (*tree)["added_tokens"]) {
    if (!token.contains("content") || token["content"] != content) continue;
    const json special = {{"SpecialToken", {{"id", content}}}};
    const json text = {{"Sequence", {{"id", "A"}}}};
    (*tree)["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single", json::array({special, text})},
        {"special_tokens", {{content.get<std::string>(), {{"ids", json::array({token["id"]})}}}}}};
    return absl::OkStatus();
  }
  return config.Error("bos_token", "is in neither vocab.json nor added_tokens_decoder");
}

}  // namespace

absl::StatusOr<TokenizerDocument> ReadVocabMerges(const VocabMergesFiles& files,
                                                  absl::string_view source) {
  if (const auto bad = FirstInvalidByte(files.vocab_json)) {
    return Bad(source, "vocab.json", absl::StrCat("not UTF-8 at byte ", *bad));
  }
  if (const auto bad = FirstInvalidByte(files.added_tokens_json)) {
    return Bad(source, "added_tokens.json", absl::StrCat("not UTF-8 at byte ", *bad));
  }
  const std::string config_source = absl::StrCat(source, "/tokenizer_config.json");
  json config_tree = json::object();
  if (!files.config_json.empty()) {
    RETORT_ASSIGN_OR_RETURN(config_tree,
                            ReadMembers(files.config_json, config_source,
                                        {"tokenizer_class", "add_prefix_space", "add_bos_token",
                                         "bos_token", "eos_token", "unk_token", "pad_token",
                                         "additional_special_tokens", "added_tokens_decoder"}));
  }
  RETORT_ASSIGN_OR_RETURN(const JsonObject config, JsonObject::Make(config_tree, config_source));
  TokenizerDocument document;
  document.tree = {{"model", {{"type", "BPE"}}}};
  RETORT_ASSIGN_OR_RETURN(document.tree["added_tokens"], AddedTokensOf(files, config, source));
  RETORT_RETURN_IF_ERROR(AddParts(config, &document.tree));
  JsonCursor cursor(files.vocab_json);
  if (!cursor.Skip(&document.vocabulary.text) || !cursor.End()) {
    return Bad(source, "vocab.json", cursor.error());
  }
  RETORT_ASSIGN_OR_RETURN(std::string merges, MergesAsJson(files.merges_txt, source));
  document.owned = std::make_unique<std::string>(std::move(merges));
  document.merges.text = *document.owned;
  return document;
}

}  // namespace retort::text
