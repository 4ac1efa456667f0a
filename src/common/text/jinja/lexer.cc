#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/base/utf8.h"
#include "common/text/jinja/failure.h"
#include "common/text/jinja/literal.h"
#include "common/text/jinja/python_text.h"
#include "common/text/jinja/token.h"

namespace retort::text::jinja {
namespace {

bool IsNameStart(char c) { return absl::ascii_isalpha(c) || c == '_'; }
bool IsNameByte(char c) { return absl::ascii_isalnum(c) || c == '_'; }

// One newline convention, and the newline at the very end dropped.
std::string Normalize(absl::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(absl::string_view source) : source_(source) {}

  std::vector<Token> Run() {
    while (pos_ < source_.size()) LexData();
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::string_view Rest() const { return absl::string_view(source_).substr(pos_); }
  bool At(absl::string_view text) const { return absl::StartsWith(Rest(), text); }

  void Add(TokenKind kind, std::string text) { tokens_.push_back({kind, line_, std::move(text)}); }

  void Advance(size_t bytes) {
    line_ += static_cast<int>(
        std::count(source_.begin() + static_cast<std::ptrdiff_t>(pos_),
                   source_.begin() + static_cast<std::ptrdiff_t>(pos_ + bytes), '\n'));
    pos_ += bytes;
  }

  // `-` or `+` right behind the two bytes of an opening tag; 0 if neither.
  char SignAt(size_t tag) const {
    const char c = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  // The data in front of the tag at `tag`, as the tag's sign and lstrip_blocks leave it.
  absl::string_view Stripped(absl::string_view data, char sign, bool variable) const {
    if (sign == '-') return StripRight(data);
    if (sign == '+' || variable) return data;
    const size_t newline = data.rfind('\n');
    const size_t begin = newline == data.npos ? 0 : newline + 1;
    if (newline == data.npos && !line_starting_) return data;
    return StripLeft(data.substr(begin)).empty() ? data.substr(0, begin) : data;
  }

  void AddData(absl::string_view data, size_t source_bytes) {
    if (!data.empty()) Add(TokenKind::kData, std::string(data));
    Advance(source_bytes);
  }

  size_t NextTag() const {
    for (size_t at = source_.find('{', pos_); at + 1 < source_.size() && at != source_.npos;
         at = source_.find('{', at + 1)) {
      const char next = source_[at + 1];
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return source_.npos;
  }

  // Data up to the next tag, and that tag.
  void LexData() {
    const size_t tag = NextTag();
    if (tag == source_.npos) {
      AddData(Rest(), source_.size() - pos_);
      return;
    }
    const char type = source_[tag + 1];
    const char sign = SignAt(tag);
    AddData(Stripped(Rest().substr(0, tag - pos_), sign, type == '{'), tag - pos_);
    const size_t opening = sign == '\0' ? 2 : 3;
    if (type == '#') {
      LexComment(opening);
    } else if (type == '{' || !LexRaw()) {
      Add(type == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, "");
      Advance(opening);
      LexTag(type == '{' ? "}}" : "%}", type == '{');
    }
  }

  // Consumes a closing tag `end` with its sign, and the whitespace that it takes along.
  bool LexEnd(absl::string_view end, bool variable) {
    const bool minus = At("-") && absl::StartsWith(Rest().substr(1), end);
    const bool plus = !variable && At("+") && absl::StartsWith(Rest().substr(1), end);
    if (!minus && !plus && !At(end)) return false;
    size_t bytes = end.size() + (minus || plus ? 1 : 0);
    const absl::string_view behind = Rest().substr(bytes);
    if (minus) bytes += behind.size() - StripLeft(behind).size();
    if (!minus && !plus && !variable && absl::StartsWith(behind, "\n")) ++bytes;
    Advance(bytes);
    line_starting_ = source_[pos_ - 1] == '\n';
    return true;
  }

  void LexComment(size_t opening) {
    const int line = line_;
    Advance(opening);
    const size_t end = source_.find("#}", pos_);
    if (end == source_.npos) Fail("a comment {# is not closed by #}", line);
    const bool sign = end > pos_ && (source_[end - 1] == '-' || source_[end - 1] == '+');
    Advance(end - pos_ - (sign ? 1 : 0));
    LexEnd("#}", /*variable=*/false);
  }

  // Where a tag `{% name %}` that begins at `at` ends; nullopt if there is another one.
  std::optional<size_t> MatchTag(size_t at, absl::string_view name, bool plus_end) const {
    absl::string_view rest = absl::string_view(source_).substr(at + 2);
    if (absl::StartsWith(rest, "-") || absl::StartsWith(rest, "+")) rest.remove_prefix(1);
    rest = StripLeft(rest);
    if (!absl::StartsWith(rest, name)) return std::nullopt;
    rest = StripLeft(rest.substr(name.size()));
    if (!absl::StartsWith(rest, "%}") && !absl::StartsWith(rest, "-%}") &&
        !(plus_end && absl::StartsWith(rest, "+%}"))) {
      return std::nullopt;
    }
    return source_.size() - rest.size();
  }

  // {% raw %} up to its {% endraw %}, if this is one.
  bool LexRaw() {
    const int line = line_;
    const auto end_of_begin = MatchTag(pos_, "raw", /*plus_end=*/false);
    if (!end_of_begin.has_value()) return false;
    Advance(*end_of_begin - pos_);
    if (At("-%}")) {
      LexEnd("%}", /*variable=*/false);
    } else {
      Advance(2);  // Not LexEnd: trim_blocks leaves the newline behind {% raw %} alone.
      line_starting_ = false;
    }
    for (size_t at = source_.find("{%", pos_); at != source_.npos;
         at = source_.find("{%", at + 2)) {
      const auto end = MatchTag(at, "endraw", /*plus_end=*/true);
      if (!end.has_value()) continue;
      const absl::string_view data = Rest().substr(0, at - pos_);
      AddData(Stripped(data, SignAt(at), /*variable=*/false), at - pos_);
      Advance(*end - pos_);
      LexEnd("%}", /*variable=*/false);
      return true;
    }
    Fail("{% raw %} is not closed by {% endraw %}", line);
  }

  void LexTag(absl::string_view end, bool variable) {
    const int line = line_;
    std::vector<char> open;
    while (pos_ < source_.size()) {
      if (open.empty() && LexTagEnd(end, variable)) return;
      const char c = source_[pos_];
      const size_t space = Rest().size() - StripLeft(Rest()).size();
      if (space > 0) {
        Advance(space);
      } else if (IsNameStart(c)) {
        LexName();
      } else if (absl::ascii_isdigit(c)) {
        LexNumber();
      } else if (c == '"' || c == '\'') {
        LexString();
      } else {
        LexOperator(&open);
      }
    }
    Fail(absl::StrCat("a tag is not closed by ", end), line);
  }

  bool LexTagEnd(absl::string_view end, bool variable) {
    const int line = line_;
    if (!LexEnd(end, variable)) return false;
    tokens_.push_back({variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, line, ""});
    return true;
  }

  void LexName() {
    size_t end = pos_;
    while (end < source_.size() && IsNameByte(source_[end])) ++end;
    Add(TokenKind::kName, source_.substr(pos_, end - pos_));
    Advance(end - pos_);
  }

  void LexNumber() {
    // `x.0.1` is two subscripts: a number behind a dot has no fraction.
    const bool after_dot = pos_ > 0 && source_[pos_ - 1] == '.';
    const NumberLiteral number = ScanNumber(Rest(), /*allow_float=*/!after_dot);
    Add(number.is_float ? TokenKind::kFloat : TokenKind::kInteger, number.digits);
    Advance(number.bytes);
  }

  void LexString() {
    const char quote = source_[pos_];
    size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) Fail("a string literal is not closed", line_);
    Add(TokenKind::kString,
        Unescape(absl::string_view(source_).substr(pos_ + 1, end - pos_ - 1), line_));
    Advance(end + 1 - pos_);
  }

  void LexOperator(std::vector<char>* open) {
    static constexpr absl::string_view kOperators[] = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (const absl::string_view op : kOperators) {
      if (!At(op)) continue;
      Balance(op[0], open);
      Add(TokenKind::kOperator, std::string(op));
      Advance(op.size());
      return;
    }
    const size_t bytes = std::min(CharacterBytes(source_[pos_]), source_.size() - pos_);
    Fail(absl::StrCat("unexpected character \"", Printable(Rest().substr(0, bytes)), "\""), line_);
  }

  void Balance(char c, std::vector<char>* open) const {
    if (c == '(') open->push_back(')');
    if (c == '[') open->push_back(']');
    if (c == '{') open->push_back('}');
    if (c != ')' && c != ']' && c != '}') return;
    if (open->empty()) Fail(absl::StrCat("unexpected \"", std::string(1, c), "\""), line_);
    if (open->back() != c) {
      Fail(absl::StrCat("unexpected \"", std::string(1, c), "\"; expected \"",
                        std::string(1, open->back()), "\""),
           line_);
    }
    open->pop_back();
  }

  const std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // The tag before took a newline along, or there was none.
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(absl::string_view source, const Limits& limits) {
  if (source.size() > limits.max_template_bytes) {
    Exhaust(absl::StrCat("the template has ", source.size(), " bytes; at most ",
                         limits.max_template_bytes),
            1);
  }
  if (const auto invalid = FirstInvalidByte(source)) {
    Fail(absl::StrCat("the template is not UTF-8 at byte ", *invalid), 1);
  }
  Lexer lexer(Normalize(source));
  return lexer.Run();
}

}  // namespace retort::text::jinja
