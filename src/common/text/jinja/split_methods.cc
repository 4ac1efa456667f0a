// Methods of strings that return a list or a tuple of strings.
#include <algorithm>

#include "common/base/utf8.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/python_text.h"

namespace retort::text::jinja {
namespace {

using Pieces = std::vector<absl::string_view>;

Value Strings(Runtime& runtime, const Pieces& pieces, Kind kind) {
  std::vector<Value> items;
  for (const absl::string_view piece : pieces) items.push_back(runtime.String(std::string(piece)));
  return runtime.Sequence(kind, std::move(items));
}

// At most `limit` cuts (any number if negative) at runs of whitespace; that at the ends makes no
// empty piece.
Pieces SplitSpace(absl::string_view text, int64_t limit) {
  Pieces pieces;
  text = StripLeft(text);
  while (!text.empty()) {
    if (limit == 0) {
      pieces.push_back(text);  // What is not cut keeps its whitespace at the far end.
      break;
    }
    size_t end = 0;
    while (end < text.size() && !IsPythonSpace(CodePoint(text.substr(end)))) {
      end += CharacterBytes(text[end]);
    }
    pieces.push_back(text.substr(0, end));
    text = StripLeft(text.substr(end));
    if (limit > 0) --limit;
  }
  return pieces;
}

Pieces SplitSpaceFromRight(absl::string_view text, int64_t limit) {
  Pieces pieces;
  text = StripRight(text);
  while (!text.empty()) {
    if (limit == 0) {
      pieces.push_back(text);
      break;
    }
    // The last word is what is behind the last whitespace character.
    size_t begin = text.size();
    while (begin > 0) {
      size_t at = begin - 1;
      while (at > 0 && (text[at] & 0xC0) == 0x80) --at;
      if (IsPythonSpace(CodePoint(text.substr(at)))) break;
      begin = at;
    }
    pieces.push_back(text.substr(begin));
    text = StripRight(text.substr(0, begin));
    if (limit > 0) --limit;
  }
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

Pieces SplitAt(absl::string_view text, absl::string_view separator, int64_t limit) {
  Pieces pieces;
  while (limit != 0) {
    const size_t at = FindText(text, separator);
    if (at == text.npos) break;
    pieces.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
    if (limit > 0) --limit;
  }
  pieces.push_back(text);
  return pieces;
}

Pieces SplitAtFromRight(absl::string_view text, absl::string_view separator, int64_t limit) {
  Pieces pieces;
  while (limit != 0) {
    const size_t at = FindLastText(text, separator);
    if (at == text.npos) break;
    pieces.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
    if (limit > 0) --limit;
  }
  pieces.push_back(text);
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

template <bool from_right>
Value Split(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound(from_right ? "rsplit" : "split", arguments, {"sep", "maxsplit"});
  const int64_t limit = bound.Int(1, -1);
  runtime.ChargeBytes(self.text().size());
  if (bound.IsNone(0)) {
    return Strings(
        runtime,
        from_right ? SplitSpaceFromRight(self.text(), limit) : SplitSpace(self.text(), limit),
        Kind::kList);
  }
  const absl::string_view separator = bound.Text(0, "");
  if (separator.empty()) Fail("split: the separator is empty");
  return Strings(runtime,
                 from_right ? SplitAtFromRight(self.text(), separator, limit)
                            : SplitAt(self.text(), separator, limit),
                 Kind::kList);
}

Value Lines(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("splitlines", arguments, {"keepends"});
  runtime.ChargeBytes(self.text().size());
  return Strings(runtime, SplitLines(self.text(), bound.Flag(0, false)), Kind::kList);
}

template <bool from_right>
Value Partition(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound(from_right ? "rpartition" : "partition", arguments, {"sep"}, 1);
  const absl::string_view separator = bound.Text(0, "");
  if (separator.empty()) Fail("partition: the separator is empty");
  runtime.ChargeBytes(self.text().size());
  const absl::string_view text = self.text();
  const size_t at = from_right ? FindLastText(text, separator) : FindText(text, separator);
  if (at == text.npos) {
    return Strings(runtime, from_right ? Pieces{"", "", text} : Pieces{text, "", ""}, Kind::kTuple);
  }
  return Strings(
      runtime,
      {text.substr(0, at), text.substr(at, separator.size()), text.substr(at + separator.size())},
      Kind::kTuple);
}

}  // namespace

absl::Span<const NamedBuiltin> SplitMethods() {
  static constexpr NamedBuiltin kMethods[] = {
      {"split", Split<false>},         {"rsplit", Split<true>},         {"splitlines", Lines},
      {"partition", Partition<false>}, {"rpartition", Partition<true>},
  };
  return kMethods;
}

}  // namespace retort::text::jinja
