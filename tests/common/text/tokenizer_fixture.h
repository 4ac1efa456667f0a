// Small tokenizer files for tests, built as JSON so that a test can change one part.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/json.h"
#include "common/text/byte_level.h"
#include "common/text/tokenizer.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort::text {

using nlohmann::json;

inline json SpecialToken(int id, const std::string& content) {
  return {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
}

// Every byte (ids 0-255), "ab" 256, " ab" 257, "abab" 258; "<eos>" 300.
inline json ByteLevelFile() {
  json vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary[std::string(ByteCharacter(static_cast<uint8_t>(byte)))] = byte;
  }
  const std::string space(ByteCharacter(' '));
  vocabulary["ab"] = 256;
  vocabulary[space + "ab"] = 257;
  vocabulary["abab"] = 258;
  const json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  return {{"added_tokens", {SpecialToken(300, "<eos>")}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", byte_level},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"a b", space + " ab", "ab ab"}}}}};
}

// SentencePiece style: <unk> 0, <s> 1, </s> 2, <0x00>..<0xFF> 3-258, "▁" 259, a 260, b 261, "▁a"
// 262, "ab" 263.
inline json SentencePieceFile() {
  json vocabulary = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  const char* digits = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary[std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">"] = 3 + byte;
  }
  vocabulary["▁"] = 259;
  vocabulary["a"] = 260;
  vocabulary["b"] = 261;
  vocabulary["▁a"] = 262;
  vocabulary["ab"] = 263;
  const json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}};
  const json replace_back = {{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}};
  return {
      {"added_tokens", {SpecialToken(0, "<unk>"), SpecialToken(1, "<s>"), SpecialToken(2, "</s>")}},
      {"normalizer",
       {{"type", "Sequence"}, {"normalizers", {{{"type", "Prepend"}, {"prepend", "▁"}}, replace}}}},
      {"pre_tokenizer", nullptr},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
          {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}}},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {replace_back,
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}},
          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"model",
       {{"type", "BPE"},
        {"unk_token", "<unk>"},
        {"fuse_unk", true},
        {"byte_fallback", true},
        {"vocab", vocabulary},
        {"merges", json::array({json::array({"▁", "a"}), json::array({"a", "b"})})}}}};
}

inline std::unique_ptr<Tokenizer> MakeTokenizer(const nlohmann::json& file,
                                                const std::string& config = "") {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      Tokenizer::Parse(DumpJson(file), config, "m");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

inline std::string LoadError(const nlohmann::json& file, const std::string& config = "") {
  return std::string(Tokenizer::Parse(DumpJson(file), config, "m").status().message());
}

}  // namespace retort::text
