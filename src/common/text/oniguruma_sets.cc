#include "common/text/oniguruma_sets.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace retort::text {
namespace {

// Oniguruma's \w inside of a class; outside it also has the superscripts and fractions of Latin-1.
constexpr absl::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr absl::string_view kLatinNumbers = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

}  // namespace

std::string ClassOf(char letter, bool in_class) {
  switch (letter) {
    case 's':
      return R"(\s)";
    case 'd':
      return R"(\p{Nd})";
    case 'h':
      return "0-9A-Fa-f";
    case 'w':
      return absl::StrCat(kWord, in_class ? "" : kLatinNumbers);
    default:
      return "";
  }
}

std::string PosixClass(absl::string_view name) {
  static constexpr std::pair<absl::string_view, absl::string_view> kClasses[] = {
      {"alpha", R"(\p{Alphabetic})"},
      {"digit", R"(\p{Nd})"},
      {"alnum", R"(\p{Alphabetic}\p{Nd})"},
      {"space", R"(\s)"},
      {"upper", R"(\p{Uppercase})"},
      {"lower", R"(\p{Lowercase})"},
      {"cntrl", R"(\p{Cc})"},
      {"punct", R"(\p{P}\p{S})"},
      {"word", kWord},
      {"xdigit", "0-9A-Fa-f"},
  };
  for (const auto& [known, set] : kClasses) {
    if (known == name) return std::string(set);
  }
  return "";
}

std::string PropertyOf(absl::string_view name) {
  static constexpr absl::string_view kCategories[] = {
      "C",  "Cc", "Cf", "Cn", "Co", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",
      "Mc", "Me", "Mn", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Pe", "Pf",
      "Pi", "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};
  static constexpr std::pair<absl::string_view, absl::string_view> kOthers[] = {
      {"Letter", "L"},
      {"Mark", "M"},
      {"Number", "N"},
      {"Punctuation", "P"},
      {"Symbol", "S"},
      {"Separator", "Z"},
      {"Other", "C"},
      {"Any", "Any"},
      {"Punct", "P"},
      {"Alpha", "Alphabetic"},
      {"Alphabetic", "Alphabetic"},
      {"Upper", "Uppercase"},
      {"Uppercase", "Uppercase"},
      {"Lower", "Lowercase"},
      {"Lowercase", "Lowercase"},
      {"Digit", "Nd"},
      {"Space", "White_Space"},
      {"White_Space", "White_Space"},
      {"Emoji", "Emoji"},
      {"Ideographic", "Ideographic"},
      {"Uppercase_Letter", "Lu"},
      {"Lowercase_Letter", "Ll"},
      {"Titlecase_Letter", "Lt"},
      {"Modifier_Letter", "Lm"},
      {"Other_Letter", "Lo"},
      {"Decimal_Number", "Nd"}};
  for (const absl::string_view category : kCategories) {
    if (absl::EqualsIgnoreCase(category, name)) return std::string(category);
  }
  for (const auto& [known, property] : kOthers) {
    if (absl::EqualsIgnoreCase(known, name)) return std::string(property);
  }
  return absl::StrCat("sc:", name);
}

}  // namespace retort::text
