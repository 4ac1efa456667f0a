#include "common/text/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/base/check.h"
#include "common/base/utf8.h"

namespace retort::text {
namespace {

constexpr char32_t kFirstInteresting = 0x300;  // Every character below stays as it is.
constexpr char32_t kTableEnd = 0x30000;        // No character behind has a decomposition.
constexpr int kMostDecomposed = 32;            // Code points; the longest canonical one has 4.
constexpr auto kDecompose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);

std::vector<char32_t> Decomposed(char32_t code_point) {
  utf8proc_int32_t buffer[kMostDecomposed];
  int boundary = 0;
  const utf8proc_ssize_t count = utf8proc_decompose_char(
      static_cast<utf8proc_int32_t>(code_point), buffer, kMostDecomposed, kDecompose, &boundary);
  RETORT_CHECK(count > 0 && count <= kMostDecomposed) << "U+" << static_cast<uint32_t>(code_point);
  return std::vector<char32_t>(buffer, buffer + count);
}

int CombiningClass(char32_t code_point) {
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(code_point))->combining_class;
}

// NFC of a whole short text.
void AppendComposed(absl::string_view text, std::string* out) {
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  RETORT_CHECK(size >= 0) << utf8proc_errmsg(size);
  out->append(reinterpret_cast<const char*>(composed), static_cast<size_t>(size));
  std::free(composed);
}

// What NFC's quick check knows of every character.
class Table {
 public:
  static const Table& Get() {
    static const Table* const table = new Table();
    return *table;
  }

  // A segment may begin with it: it neither composes nor sorts with what is in front of it.
  bool BeginsSegment(char32_t c) const {
    if (c < kFirstInteresting) return true;
    return c < kTableEnd ? (flags_[c] & kContinues) == 0 : CombiningClass(c) == 0;
  }
  // It begins a segment, and is its own composed form.
  bool Inert(char32_t c) const {
    if (c < kFirstInteresting) return true;
    return c < kTableEnd ? flags_[c] == 0 : CombiningClass(c) == 0;
  }

 private:
  static constexpr uint8_t kContinues = 1;
  static constexpr uint8_t kChanges = 2;

  Table() : flags_(kTableEnd, 0) {
    for (char32_t c = kFirstInteresting; c < kTableEnd; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      if (CombiningClass(c) != 0) flags_[c] |= kContinues;
      if (c >= 0xAC00 && c <= 0xD7A3) continue;  // Hangul syllables compose by rule, from jamo.
      const std::vector<char32_t> parts = Decomposed(c);
      if (parts.size() == 1 && parts[0] == c) continue;
      Note(c, parts.back());
      // Three characters of class 0 are made of marks alone, which sort in among those in front.
      if (CombiningClass(parts[0]) != 0) flags_[c] |= kContinues;
    }
    for (char32_t c = 0xC0; c < kFirstInteresting; ++c) {  // Their marks lie behind.
      const std::vector<char32_t> parts = Decomposed(c);
      if (parts.size() > 1) Note(c, parts.back());
    }
    for (char32_t c = 0x1161; c <= 0x1175; ++c) flags_[c] |= kContinues;  // Hangul vowels.
    for (char32_t c = 0x11A8; c <= 0x11C2; ++c) flags_[c] |= kContinues;  // Final consonants.
  }

  // `c` has a canonical decomposition that ends with `last`.
  void Note(char32_t c, char32_t last) {
    std::string text, composed;
    AppendUtf8(c, &text);
    AppendComposed(text, &composed);
    if (composed != text) {
      flags_[c] |= kChanges;
    } else if (last < kTableEnd) {
      flags_[last] |= kContinues;
    }
  }

  std::vector<uint8_t> flags_;
};

size_t SkipAscii(absl::string_view text, size_t from) {
  while (from + 8 <= text.size()) {
    uint64_t bytes;
    std::memcpy(&bytes, text.data() + from, 8);
    if ((bytes & 0x8080808080808080u) != 0) break;
    from += 8;
  }
  while (from < text.size() && (text[from] & 0x80) == 0) ++from;
  return from;
}

// utf8proc sorts marks by exchanging neighbours, which a long run of them turns into minutes: long
// segments are decomposed and sorted here.
void AppendComposedSegment(absl::string_view segment, std::string* out) {
  constexpr size_t kShort = 256;
  if (segment.size() <= kShort) return AppendComposed(segment, out);
  std::vector<std::pair<int, char32_t>> characters;  // Class, code point.
  for (size_t i = 0; i < segment.size(); i += CharacterBytes(segment[i])) {
    for (const char32_t part : Decomposed(CodePoint(segment.substr(i)))) {
      characters.emplace_back(CombiningClass(part), part);
    }
  }
  const auto is_starter = [](const auto& character) { return character.first == 0; };
  for (auto begin = characters.begin(); begin != characters.end();) {
    if (is_starter(*begin)) {
      ++begin;
      continue;
    }
    const auto end = std::find_if(begin, characters.end(), is_starter);
    std::stable_sort(begin, end, [](const auto& a, const auto& b) { return a.first < b.first; });
    begin = end;
  }
  std::string sorted;
  for (const auto& [combining_class, code_point] : characters) AppendUtf8(code_point, &sorted);
  AppendComposed(sorted, out);
}

void AddSegmentEdit(size_t source_begin, absl::string_view source, size_t target_begin,
                    absl::string_view target, EditMap* edits) {
  const size_t shorter = std::min(source.size(), target.size());
  size_t prefix = 0;
  while (prefix < shorter && source[prefix] == target[prefix]) ++prefix;
  size_t suffix = 0;
  while (suffix < shorter - prefix &&
         source[source.size() - 1 - suffix] == target[target.size() - 1 - suffix]) {
    ++suffix;
  }
  edits->Add({static_cast<int32_t>(source_begin + prefix),
              static_cast<int32_t>(source_begin + source.size() - suffix),
              static_cast<int32_t>(target_begin + prefix),
              static_cast<int32_t>(target_begin + target.size() - suffix)});
}

}  // namespace

size_t FirstNfcCandidate(absl::string_view text) {
  size_t previous = 0;  // Where the last segment began.
  size_t i = 0;
  while ((i = SkipAscii(text, i)) < text.size()) {
    if (i > 0 && (text[i - 1] & 0x80) == 0) previous = i - 1;
    const char32_t c = CodePoint(text.substr(i));
    const Table& table = Table::Get();
    if (!table.Inert(c)) return table.BeginsSegment(c) ? i : previous;
    previous = i;
    i += CharacterBytes(text[i]);
  }
  return text.size();
}

bool AppendNfc(absl::string_view text, std::string* out, EditMap* edits) {
  const Table& table = Table::Get();
  bool changed = false;
  size_t done = 0;
  while (done < text.size()) {
    const size_t begin = done + FirstNfcCandidate(text.substr(done));
    out->append(text.data() + done, begin - done);
    if (begin == text.size()) break;
    size_t end = begin + CharacterBytes(text[begin]);
    while (end < text.size() && !table.BeginsSegment(CodePoint(text.substr(end)))) {
      end += CharacterBytes(text[end]);
    }
    const absl::string_view segment = text.substr(begin, end - begin);
    const size_t target_begin = out->size();
    AppendComposedSegment(segment, out);
    const absl::string_view target = absl::string_view(*out).substr(target_begin);
    if (target != segment) {
      changed = true;
      if (edits != nullptr) AddSegmentEdit(begin, segment, target_begin, target, edits);
    }
    done = end;
  }
  return changed;
}

}  // namespace retort::text
