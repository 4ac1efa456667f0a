// What the lexer makes of a template's source and the parser reads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/text/jinja/limits.h"

namespace retort::text::jinja {

enum class TokenKind : uint8_t {
  kData,  // Text between tags, whitespace control applied.
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,   // `text` is unescaped.
  kInteger,  // `text` is its decimal digits.
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  int line;
  std::string text;

  bool Is(TokenKind k, absl::string_view t) const { return kind == k && text == t; }
  bool IsName(absl::string_view t) const { return Is(TokenKind::kName, t); }
  bool IsOperator(absl::string_view t) const { return Is(TokenKind::kOperator, t); }
};

// The source as Jinja reads it with trim_blocks, lstrip_blocks and without keep_trailing_newline;
// CRLF and CR count as newlines. Ends with a kEnd. Throws Failure.
std::vector<Token> Tokenize(absl::string_view source, const Limits& limits);

}  // namespace retort::text::jinja
