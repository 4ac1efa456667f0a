#include "common/text/split_scanner.h"

#include "absl/strings/ascii.h"
#include "common/text/char_class.h"

namespace retort::text {

const absl::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

constexpr absl::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr absl::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr absl::string_view kGptOssPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// DeepSeek's patterns hold line breaks as they are, not as escapes.
constexpr absl::string_view kDeepSeekNumbers = R"(\p{N}{1,3})";
constexpr absl::string_view kDeepSeekCjk = "[一-龥\u3040-ゟ゠-ヿ]+";
constexpr absl::string_view kDeepSeekWords =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}"
    "]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

// Where a text is read and where it ends. A matcher returns the end of the match that begins at
// `at`, or `at` if none does.
struct Reader {
  const CharClassTable& classes;
  const char* end;

  ClassedChar At(const char* at) const { return classes.At(at); }
  bool Is(const char* at, uint8_t any) const {
    return at < end && (classes.At(at).classes & any) != 0;
  }
  // Behind the characters that are in `any`; at most `most` of them.
  const char* Run(const char* at, uint8_t any) const {
    while (at < end) {
      const ClassedChar c = classes.At(at);
      if ((c.classes & any) == 0) break;
      at += c.bytes;
    }
    return at;
  }
  // Behind the characters that are in none of `none`.
  const char* RunWithout(const char* at, uint8_t none) const {
    while (at < end) {
      const ClassedChar c = classes.At(at);
      if ((c.classes & none) != 0) break;
      at += c.bytes;
    }
    return at;
  }
  const char* LineBreaks(const char* at, bool slashes = false) const {
    while (at < end && (*at == '\r' || *at == '\n' || (slashes && *at == '/'))) ++at;
    return at;
  }
};

// 's 't 're 've 'm 'll 'd behind the apostrophe at `at`. Folded: in either case, and U+017F for s.
const char* Contraction(const Reader& in, const char* at, bool folded) {
  if (at >= in.end || *at != '\'' || at + 1 >= in.end) return at;
  const auto letter = [&](int i) -> char {
    if (at + i >= in.end) return 0;
    return folded ? absl::ascii_tolower(static_cast<unsigned char>(at[i])) : at[i];
  };
  switch (letter(1)) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return at + 2;
    case 'r':
    case 'v':
      return letter(2) == 'e' ? at + 3 : at;
    case 'l':
      return letter(2) == 'l' ? at + 3 : at;
    case '\xc5':
      return folded && letter(2) == '\xbf' ? at + 3 : at;
    default:
      return at;
  }
}

// \p{N}{1,most}
const char* Numbers(const Reader& in, const char* at, int most) {
  for (; most > 0 && in.Is(at, kNumber); --most) at += in.At(at).bytes;
  return at;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ with `line_breaks`, else the last two. `at` is white space.
const char* Spaces(const Reader& in, const char* at, bool line_breaks) {
  const char* last = at;          // The last character of the run.
  const char* behind_break = at;  // Behind the last line break of the run.
  const char* next = at;
  while (next < in.end) {
    const ClassedChar c = in.At(next);
    if ((c.classes & kSpace) == 0) break;
    last = next;
    next += c.bytes;
    if ((c.classes & kLineBreak) != 0) behind_break = next;
  }
  if (line_breaks && behind_break > at) return behind_break;
  return next == in.end || last == at ? next : last;
}

struct Gpt2Matcher {
  static const char* Match(const Reader& in, const char* at) {
    const char* const contraction = Contraction(in, at, /*folded=*/false);
    if (contraction != at) return contraction;
    const char* const start = *at == ' ' && at + 1 < in.end ? at + 1 : at;
    const uint8_t classes = in.At(start).classes;
    if ((classes & kLetter) != 0) return in.Run(start, kLetter);
    if ((classes & kNumber) != 0) return in.Run(start, kNumber);
    if ((classes & kSpace) == 0) return in.RunWithout(start, kSpace | kLetter | kNumber);
    return Spaces(in, at, /*line_breaks=*/false);
  }
};

// Llama 3 and Qwen 2 differ in how many digits make a word.
template <int kMostNumbers>
struct Llama3Matcher {
  static const char* Match(const Reader& in, const char* at) {
    const ClassedChar c = in.At(at);
    if ((c.classes & kLetter) != 0) return in.Run(at + c.bytes, kLetter);
    if ((c.classes & kNumber) != 0) return Numbers(in, at, kMostNumbers);
    if (*at == '\'') {
      const char* const contraction = Contraction(in, at, /*folded=*/true);
      if (contraction != at) return contraction;
    }
    const char* const next = at + c.bytes;
    if ((c.classes & kLineBreak) == 0 && in.Is(next, kLetter)) return in.Run(next, kLetter);
    const char* const start = *at == ' ' ? next : at;
    const char* const others = in.RunWithout(start, kSpace | kLetter | kNumber);
    if (others != start) return in.LineBreaks(others);
    return Spaces(in, at, /*line_breaks=*/true);
  }
};

struct GptOssMatcher {
  static constexpr uint8_t kHead = kUpper | kOtherLetter | kMark;
  static constexpr uint8_t kTail = kLower | kOtherLetter | kMark;

  // [head]*[tail]+ from `at`, nullptr if it does not match.
  static const char* HeadsThenTail(const Reader& in, const char* at) {
    const char* behind_tail =
        nullptr;  // Behind the last character of the heads that is a tail too.
    while (at < in.end) {
      const ClassedChar c = in.At(at);
      if ((c.classes & kHead) == 0) break;
      at += c.bytes;
      if ((c.classes & kTail) != 0) behind_tail = at;
    }
    return in.Is(at, kTail) ? in.Run(at, kTail) : behind_tail;
  }

  static const char* Match(const Reader& in, const char* at) {
    const ClassedChar c = in.At(at);
    const char* const next = at + c.bytes;
    const bool may_lead = (c.classes & (kLineBreak | kLetter | kNumber)) == 0;
    const char* word = may_lead ? HeadsThenTail(in, next) : nullptr;
    if (word == nullptr) word = HeadsThenTail(in, at);
    // No tail behind the heads: only heads are left for the second alternative.
    if (word == nullptr && may_lead && in.Is(next, kHead)) word = in.Run(next, kHead);
    if (word == nullptr && (c.classes & kHead) != 0) word = in.Run(at, kHead);
    if (word != nullptr) return Contraction(in, word, /*folded=*/true);
    if ((c.classes & kNumber) != 0) return Numbers(in, at, 3);
    const char* const start = *at == ' ' ? next : at;
    const char* const others = in.RunWithout(start, kSpace | kLetter | kNumber);
    if (others != start) return in.LineBreaks(others, /*slashes=*/true);
    return Spaces(in, at, /*line_breaks=*/true);
  }
};

struct DeepSeekNumbersMatcher {
  static const char* Match(const Reader& in, const char* at) { return Numbers(in, at, 3); }
};

struct DeepSeekCjkMatcher {
  // U+3040-30FF and U+4E00-9FA5: three bytes each.
  static bool IsCjk(const char* at) {
    const auto byte = [&](int i) { return static_cast<uint32_t>(static_cast<uint8_t>(at[i])); };
    if (byte(0) < 0xE3 || byte(0) > 0xE9) return false;
    const uint32_t c = (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    return (c >= 0x3040 && c <= 0x30FF) || (c >= 0x4E00 && c <= 0x9FA5);
  }
  static const char* Match(const Reader& in, const char* at) {
    while (at < in.end && IsCjk(at)) at += 3;
    return at;
  }
};

struct DeepSeekWordsMatcher {
  static const char* Match(const Reader& in, const char* at) {
    const ClassedChar c = in.At(at);
    const char* const next = at + c.bytes;
    if ((c.classes & (kLetter | kMark)) != 0) return in.Run(next, kLetter | kMark);
    if ((c.classes & kSymbol) != 0) {
      if (static_cast<uint8_t>(*at) < 0x80) {
        const char* letters = next;
        while (letters < in.end && absl::ascii_isalpha(static_cast<unsigned char>(*letters))) {
          ++letters;
        }
        if (letters != next) return letters;
      }
      return in.LineBreaks(in.Run(next, kSymbol));
    }
    if ((c.classes & kLineBreak) == 0 && in.Is(next, kLetter | kMark)) {
      return in.Run(next, kLetter | kMark);
    }
    if (*at == ' ' && in.Is(next, kSymbol)) return in.LineBreaks(in.Run(next, kSymbol));
    return (c.classes & kSpace) != 0 ? Spaces(in, at, /*line_breaks=*/true) : at;
  }
};

template <typename Matcher>
void Scan(absl::string_view text, Word piece, std::vector<Word>* words) {
  const char* const begin = text.data();
  const Reader in{CharClassTable::Get(), begin + piece.end};
  const auto add = [&](const char* from, const char* to) {
    words->push_back({static_cast<uint32_t>(from - begin), static_cast<uint32_t>(to - begin)});
  };
  const char* done = begin + piece.begin;
  for (const char* at = done; at < in.end;) {
    const char* const behind = Matcher::Match(in, at);
    if (behind == at) {  // Nothing matches here: the character belongs to a gap.
      at += in.At(at).bytes;
      continue;
    }
    if (done != at) add(done, at);
    add(at, behind);
    done = at = behind;
  }
  if (done != in.end) add(done, in.end);
}

}  // namespace

const std::vector<KnownPattern>& KnownPatterns() {
  static const auto* const patterns = new std::vector<KnownPattern>{
      {"gpt2", kGpt2Pattern, Scan<Gpt2Matcher>},
      {"llama3", kLlama3Pattern, Scan<Llama3Matcher<3>>},
      {"qwen2", kQwen2Pattern, Scan<Llama3Matcher<1>>},
      {"gpt-oss", kGptOssPattern, Scan<GptOssMatcher>},
      {"deepseek-v3 numbers", kDeepSeekNumbers, Scan<DeepSeekNumbersMatcher>},
      {"deepseek-v3 cjk", kDeepSeekCjk, Scan<DeepSeekCjkMatcher>},
      {"deepseek-v3 words", kDeepSeekWords, Scan<DeepSeekWordsMatcher>},
  };
  return *patterns;
}

absl::string_view PatternNamed(absl::string_view name) {
  for (const KnownPattern& known : KnownPatterns()) {
    if (known.name == name) return known.pattern;
  }
  return "";
}

SplitScanner FindSplitScanner(absl::string_view pattern) {
  for (const KnownPattern& known : KnownPatterns()) {
    if (known.pattern == pattern) return known.scanner;
  }
  return nullptr;
}

}  // namespace retort::text
