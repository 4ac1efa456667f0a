#include "common/text/oniguruma_pattern.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/oniguruma_reader.h"
#include "common/text/oniguruma_sets.h"

namespace retort::text {
namespace {

constexpr int kMaxNesting = 100;
constexpr absl::string_view kAny = R"([\x{0}-\x{10ffff}])";
class Translator : private OnigurumaReader {
 public:
  explicit Translator(absl::string_view source) : OnigurumaReader(source) {}

  absl::StatusOr<std::string> Run() {
    RETORT_RETURN_IF_ERROR(Alternatives(0));
    if (pos_ < source_.size()) return Invalid("has a \")\" that closes nothing");
    return std::move(out_);
  }

 private:
  // Up to the ')' of the group, or the end. An option like (?i) holds up to there: it opens a group
  // that ends with this one.
  absl::Status Alternatives(int depth) {
    if (depth > kMaxNesting) return Invalid("is nested too deeply");
    const bool outer_case = ignore_case_;
    int open = 0;
    while (pos_ < source_.size() && source_[pos_] != ')') {
      const size_t atom = out_.size();
      if (Skip("|")) {
        out_ += '|';
        before_ = 0;
        continue;
      }
      RETORT_ASSIGN_OR_RETURN(const bool option, OneAtom(depth));
      if (option) {
        ++open;
      } else {
        RETORT_RETURN_IF_ERROR(Quantifiers(atom));
      }
    }
    out_.append(static_cast<size_t>(open), ')');
    ignore_case_ = outer_case;
    return absl::OkStatus();
  }

  // Whether it was an option that holds from here on.
  absl::StatusOr<bool> OneAtom(int depth) {
    const char c = source_[pos_];
    if (c == '(') return Group(depth);
    if (c == '\\') {
      RETORT_RETURN_IF_ERROR(Escape());
    } else if (c == '[') {
      RETORT_ASSIGN_OR_RETURN(const std::string set, Class(depth));
      out_ += set;
    } else if (c == '*' || c == '+' || c == '?') {
      return Invalid("repeats nothing");
    } else if (c == '.') {
      ++pos_;
      out_ += '.';
    } else if (c == '^' || c == '$') {
      ++pos_;
      absl::StrAppend(&out_, "(?m:", std::string(1, c), ")");
    } else {
      return OneLiteral();
    }
    before_ = 0;
    return false;
  }

  // Oniguruma finds "ß" by (?i)ss, which PCRE2 does not.
  absl::StatusOr<bool> OneLiteral() {
    const char32_t c = TakeCharacter();
    if (ignore_case_ && c < 0x80 && before_ < 0x80) {
      const char pair[] = {absl::ascii_tolower(static_cast<unsigned char>(before_)),
                           absl::ascii_tolower(static_cast<unsigned char>(c)), '\0'};
      for (const char* folded : {"ss", "st", "ff", "fi", "fl"}) {
        if (absl::string_view(pair) == folded) return Unknown(absl::StrCat("(?i:", pair, ")"));
      }
    }
    before_ = c;
    out_ += Literal(c);
    return false;
  }

  absl::StatusOr<bool> Group(int depth) {
    before_ = 0;
    for (const absl::string_view plain : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (!Skip(plain)) continue;
      absl::StrAppend(&out_, plain);
      RETORT_RETURN_IF_ERROR(CloseGroup(depth));
      return false;
    }
    if (At("(*")) return Unknown("(*");
    if (!At("(?")) {
      ++pos_;
      out_ += "(?:";  // Without back references nothing asks what a group held.
      RETORT_RETURN_IF_ERROR(CloseGroup(depth));
      return false;
    }
    const size_t end = source_.find_first_not_of("im-", pos_ + 2);
    if (end == source_.npos || end == pos_ + 2 || (source_[end] != ':' && source_[end] != ')')) {
      return Unknown(Rest().substr(0, 3));
    }
    // Ruby's m, a dot that matches line ends too, is PCRE2's s.
    std::string options(source_.substr(pos_ + 2, end - pos_ - 2));
    std::replace(options.begin(), options.end(), 'm', 's');
    if (std::count(options.begin(), options.end(), '-') > 1) return Unknown(options);
    absl::StrAppend(&out_, "(?", options, ":");
    const bool whole_group = source_[end] == ')';
    pos_ = end + 1;
    const size_t off = options.find('-');
    const bool outer_case = ignore_case_;
    if (options.find('i') != options.npos) ignore_case_ = options.find('i') < off;
    if (whole_group) return true;
    RETORT_RETURN_IF_ERROR(CloseGroup(depth));
    ignore_case_ = outer_case;
    return false;
  }

  absl::Status CloseGroup(int depth) {
    RETORT_RETURN_IF_ERROR(Alternatives(depth + 1));
    if (!Skip(")")) return Invalid("ends inside of a group");
    out_ += ')';
    return absl::OkStatus();
  }

  // {n}, {n,}, {,m} or {n,m} at `pos_`, in PCRE2's words; nullopt if the brace is an ordinary one.
  absl::StatusOr<std::optional<std::string>> Interval() {
    const size_t close = source_.find('}', pos_);
    if (close == source_.npos) return std::nullopt;
    const absl::string_view inside = source_.substr(pos_ + 1, close - pos_ - 1);
    const size_t comma = inside.find(',');
    const absl::string_view low = inside.substr(0, comma);
    const absl::string_view high = comma == inside.npos ? low : inside.substr(comma + 1);
    const auto digits = [](absl::string_view text) {
      return std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
    };
    if (!digits(low) || !digits(high) || (low.empty() && high.empty())) return std::nullopt;
    int least = 0, most = 0;
    if (!low.empty() && !high.empty() && absl::SimpleAtoi(low, &least) &&
        absl::SimpleAtoi(high, &most) && least > most) {
      return Unknown(source_.substr(pos_, close + 1 - pos_));
    }
    pos_ = close + 1;
    if (comma == inside.npos && At("?")) return Unknown("{n}?");
    return comma == inside.npos ? absl::StrCat("{", low, "}")
                                : absl::StrCat("{", low.empty() ? "0" : low, ",", high, "}");
  }

  // Those behind the atom that begins at out_[atom]. One behind another repeats the repeat.
  absl::Status Quantifiers(size_t atom) {
    for (bool again = false;; again = true) {
      std::string quantifier;
      bool interval = false;
      if (At("*") || At("+") || At("?")) {
        quantifier = std::string(source_.substr(pos_++, 1));
      } else if (At("{")) {
        RETORT_ASSIGN_OR_RETURN(const std::optional<std::string> found, Interval());
        if (!found.has_value()) return absl::OkStatus();
        quantifier = *found;
        interval = true;
      } else {
        return absl::OkStatus();
      }
      before_ = 0;
      if (Skip("?")) {
        quantifier += '?';
      } else if (!interval && Skip("+")) {
        quantifier += '+';
      }
      if (again) {
        out_.insert(atom, "(?:");
        out_ += ')';
      }
      out_ += quantifier;
    }
  }

  absl::Status Escape() {
    if (pos_ + 1 >= source_.size()) return Invalid("ends with a backslash");
    const char letter = source_[pos_ + 1];
    const std::string set = ClassOf(absl::ascii_tolower(letter), /*in_class=*/false);
    if (!set.empty()) {
      pos_ += 2;
      absl::StrAppend(&out_, absl::ascii_isupper(letter) ? "[^" : "[", set, "]");
      return absl::OkStatus();
    }
    if (letter == 'b' || letter == 'B') {
      pos_ += 2;
      WordBoundary(letter == 'b');
      return absl::OkStatus();
    }
    if (letter == 'p' || letter == 'P') {
      RETORT_ASSIGN_OR_RETURN(const std::string property, Property());
      out_ += property;
      return absl::OkStatus();
    }
    if (letter == 'A' || letter == 'z' || letter == 'Z' || letter == 'G' || letter == 'R') {
      pos_ += 2;
      absl::StrAppend(&out_, "\\", std::string(1, letter));
      return absl::OkStatus();
    }
    RETORT_ASSIGN_OR_RETURN(const char32_t c, EscapedCharacter(/*in_class=*/false));
    out_ += Literal(c);
    return absl::OkStatus();
  }

  void WordBoundary(bool at_one) {
    const std::string word = absl::StrCat("[", ClassOf('w', /*in_class=*/false), "]");
    absl::StrAppend(&out_, "(?:(?<=", word, at_one ? ")(?!" : ")(?=", word, ")|(?<!", word,
                    at_one ? ")(?=" : ")(?!", word, "))");
  }

  // One operand of &&: what is in a class of its own, and classes beside it.
  struct Operand {
    std::string plain;
    std::vector<std::string> nested;

    bool empty() const { return plain.empty() && nested.empty(); }
    std::string Text() const {
      if (nested.empty()) return absl::StrCat("[", plain, "]");
      std::string text = plain.empty() ? "(?:" : absl::StrCat("(?:[", plain, "]|");
      for (size_t i = 0; i < nested.size(); ++i)
        absl::StrAppend(&text, i > 0 ? "|" : "", nested[i]);
      return text + ")";
    }
  };

  // A class at `pos_`: something that matches one character.
  absl::StatusOr<std::string> Class(int depth) {
    if (depth > kMaxNesting) return Invalid("is nested too deeply");
    ++pos_;
    const bool negated = Skip("^");
    std::string before;  // Looks ahead for the operands of && so far.
    Operand operand;
    for (bool first = true; first || !At("]"); first = false) {
      if (pos_ >= source_.size()) return Invalid("ends inside of a class");
      if (Skip("&&")) {
        if (operand.empty()) return Unknown("[&&");
        absl::StrAppend(&before, "(?=", std::exchange(operand, {}).Text(), ")");
      } else {
        RETORT_RETURN_IF_ERROR(ClassItem(depth, &operand));
      }
    }
    ++pos_;
    if (operand.empty()) return Unknown("&&]");
    if (!negated)
      return before.empty() ? operand.Text() : absl::StrCat("(?:", before, operand.Text(), ")");
    if (before.empty() && operand.nested.empty()) return absl::StrCat("[^", operand.plain, "]");
    return absl::StrCat("(?:(?!", before, operand.Text(), ")", kAny, ")");
  }

  absl::Status ClassItem(int depth, Operand* operand) {
    if (At("[:") && source_.find(":]", pos_) != source_.npos) return PosixItem(operand);
    if (At("[")) {
      RETORT_ASSIGN_OR_RETURN(std::string nested, Class(depth + 1));
      operand->nested.push_back(std::move(nested));
      return absl::OkStatus();
    }
    if (At("\\") && pos_ + 1 < source_.size()) {
      const char letter = source_[pos_ + 1];
      const std::string set = ClassOf(absl::ascii_tolower(letter), /*in_class=*/true);
      if (!set.empty() || letter == 'p' || letter == 'P') return SetItem(letter, set, operand);
    }
    RETORT_ASSIGN_OR_RETURN(const char32_t from, ClassCharacter());
    absl::StrAppend(&operand->plain, Literal(from));
    if (!At("-") || At("-]") || At("-&&")) return absl::OkStatus();
    ++pos_;
    const bool set = At("[") || (At("\\") && Rest().find_first_of("sdhwpSDHWP", 1) == 1);
    if (set) return Unknown("a range that ends with a class");
    RETORT_ASSIGN_OR_RETURN(const char32_t to, ClassCharacter());
    if (to < from) return Invalid("has an empty range in front of it");
    absl::StrAppend(&operand->plain, "-", Literal(to));
    return absl::OkStatus();
  }

  absl::Status PosixItem(Operand* operand) {
    const size_t close = source_.find(":]", pos_);
    absl::string_view name = source_.substr(pos_ + 2, close - pos_ - 2);
    const bool negated = absl::ConsumePrefix(&name, "^");
    const std::string set = PosixClass(name);
    if (set.empty()) return Unknown(source_.substr(pos_, close + 2 - pos_));
    pos_ = close + 2;
    if (negated) {
      operand->nested.push_back(absl::StrCat("[^", set, "]"));
    } else {
      operand->plain += set;
    }
    return absl::OkStatus();
  }

  absl::Status SetItem(char letter, const std::string& set, Operand* operand) {
    if (set.empty()) {
      RETORT_ASSIGN_OR_RETURN(const std::string property, Property());
      operand->plain += property;
    } else if (absl::ascii_isupper(static_cast<unsigned char>(letter))) {
      pos_ += 2;
      operand->nested.push_back(absl::StrCat("[^", set, "]"));
    } else {
      pos_ += 2;
      operand->plain += set;
    }
    if (!At("-") || At("-]") || At("-&&")) return absl::OkStatus();
    return Unknown("a range that begins with a class");
  }

  absl::StatusOr<char32_t> ClassCharacter() {
    if (pos_ >= source_.size()) return Invalid("ends inside of a class");
    if (!At("\\")) return TakeCharacter();
    if (pos_ + 1 >= source_.size()) return Invalid("ends with a backslash");
    return EscapedCharacter(/*in_class=*/true);
  }

  std::string out_;
  bool ignore_case_ = false;
  char32_t before_ = 0;  // The literal character in front of `pos_`; 0 if something else is there.
};

}  // namespace

absl::StatusOr<std::string> PcreFromOniguruma(absl::string_view source) {
  if (const auto invalid = FirstInvalidByte(source)) {
    return absl::InvalidArgumentError(absl::StrCat("pattern is not UTF-8 at byte ", *invalid));
  }
  return Translator(source).Run();
}

}  // namespace retort::text
