#include "fuzz/mutate.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "fuzz/fuzz_target.h"

namespace retort::fuzz {
namespace {

constexpr size_t kMaxRange = 40;
constexpr uint64_t kMaxRepeats = 700;

// YAML, JSON, and characters that text handling gets wrong.
constexpr absl::string_view kTokens[] = {
    "&a ",
    "*a",
    "!!x ",
    "!",
    "---\n",
    "...\n",
    "[",
    "]",
    "{",
    "}",
    ": ",
    ",",
    "\n",
    "  ",
    "\t",
    "- ",
    "? ",
    "|\n",
    ">\n",
    "\"",
    "'",
    "#",
    "%TAG",
    "@",
    "`",
    "~",
    "null",
    "true",
    "\\x",
    "\xff",
    "<<: ",
    "\r",
    "é",
    "\x04",
    "\\n",
    "\\u0000",
    "\\ud800",
    "\\u2028",
    "\\\\",
    "[]",
    "{}",
    "\"\":",
    "[[",
    "\"a\":1,",
    "\xf0\x9f\x98",
    "\xc2\x80",
    "\x7f",
    "\"\\n\"",
    "\xef\xbb\xbf",
    "/",
    "../",
    "nan",
    kSeparator,
    "-",
    ".",
    "\\\"",
};

constexpr absl::string_view kNumbers[] = {
    "-1",
    "0",
    "1",
    "2",
    "3",
    "255",
    "256",
    "0.5",
    "1e9",
    "1e308",
    "1e400",
    "-0.0",
    "2147483647",
    "2147483648",
    "007",
    "1.",
    "65536",
    "4294967295",
    "4294967296",
    "1e-320",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "99999999999999999999",
};

template <typename T>
const T& Pick(const T* values, size_t count, CounterRng& rng) {
  return values[rng.NextBelow(count)];
}

void InsertRepeated(absl::string_view token, size_t at, CounterRng& rng, std::string* text) {
  std::string many;
  for (uint64_t n = rng.NextBelow(kMaxRepeats); n > 0; --n) absl::StrAppend(&many, token);
  text->insert(at, many);
}

// The first run of digits at or after `at` becomes a number at some type's edge.
void ReplaceNumber(size_t at, CounterRng& rng, std::string* text) {
  const auto digit = [](unsigned char c) { return absl::ascii_isdigit(c); };
  const auto begin = std::find_if(text->begin() + static_cast<ptrdiff_t>(at), text->end(), digit);
  const auto end = std::find_if_not(begin, text->end(), digit);
  if (begin == end) return;
  const absl::string_view number = Pick(kNumbers, std::size(kNumbers), rng);
  text->replace(begin, end, std::string(number));
}

// Binary formats: a little-endian integer of 1, 2, 4 or 8 bytes near an edge.
void OverwriteInteger(size_t at, CounterRng& rng, std::string* text) {
  const size_t width = size_t{1} << rng.NextBelow(4);
  const uint64_t edges[] = {0, ~uint64_t{0}, uint64_t{1} << (8 * width - 1), rng.NextU64()};
  const uint64_t value = Pick(edges, std::size(edges), rng) + rng.NextBelow(5) - 2;
  for (size_t i = 0; i < width && at + i < text->size(); ++i) {
    (*text)[at + i] = static_cast<char>(value >> (8 * i));
  }
}

void Damage(const std::string& other, CounterRng& rng, std::string* text) {
  const size_t at = rng.NextBelow(text->size() + 1);
  const size_t length = rng.NextBelow(std::min(kMaxRange, text->size() - at) + 1);
  const absl::string_view token = Pick(kTokens, std::size(kTokens), rng);
  switch (rng.NextBelow(9)) {
    case 0:
      if (at < text->size()) (*text)[at] = static_cast<char>(rng.NextBelow(256));
      break;
    case 1:
      text->erase(at, length);
      break;
    case 2:
      text->insert(at, text->substr(rng.NextBelow(text->size() + 1), length));
      break;
    case 3:
      text->insert(at, token.data(), token.size());
      break;
    case 4:
      if (rng.NextBelow(4) == 0) text->resize(at);
      break;
    case 5:
      if (rng.NextBelow(4) == 0) InsertRepeated(token, at, rng, text);
      break;
    case 6:
      ReplaceNumber(at, rng, text);
      break;
    case 7:
      OverwriteInteger(at, rng, text);
      break;
    case 8:
      text->insert(at, other.substr(rng.NextBelow(other.size() + 1), 4 * length));
      break;
  }
}

}  // namespace

std::string Mutate(const std::string& input, const std::string& other, CounterRng& rng) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(input.data());
  std::vector<std::string> documents;
  for (const absl::string_view document : Documents(bytes, input.size())) {
    documents.emplace_back(document);
  }
  for (uint64_t left = 1 + rng.NextBelow(4); left > 0; --left) {
    Damage(other, rng, &documents[rng.NextBelow(documents.size())]);
  }
  return absl::StrJoin(documents, kSeparator);
}

}  // namespace retort::fuzz
