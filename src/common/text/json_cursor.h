// Walks JSON text without building a tree: for the vocabulary and merges of a tokenizer, whose tree
// would take longer than everything else. Strict (RFC 8259), bounded in depth.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace retort::text {

// Every reader skips white space first and returns false once something is wrong, then for ever.
// `text` is valid UTF-8 and outlives the cursor. Not thread-safe.
class JsonCursor {
 public:
  // `offset`: where `text` stands in the file, for errors.
  explicit JsonCursor(absl::string_view text, size_t offset = 0) : text_(text), offset_(offset) {}

  // The next byte that is not white space, 0 at the end.
  char Peek();

  // Takes the character `c`.
  bool Take(char c);

  // Takes a string. `out` is a view into the text or, when it has escapes, into a buffer that the
  // next call overwrites.
  bool String(absl::string_view* out);

  // Takes any value; `raw`, unless it is null, becomes its text.
  bool Skip(absl::string_view* raw = nullptr);

  // To walk an object or array: after Take('{') and before every element. False behind the last
  // one, with the closing bracket taken, and when something is wrong.
  bool More(char close, bool* first);

  // True if nothing but white space is left.
  bool End();

  bool ok() const { return problem_ == nullptr; }
  size_t position() const { return at_; }
  // "not valid JSON at byte N" of the file, or what else is wrong.
  std::string error() const;

 private:
  static constexpr int kMaxDepth = 64;

  bool Fail(const char* problem);
  bool Unescape();
  bool UnescapeUnicode();
  bool Hex4(char32_t* unit);
  bool Literal(absl::string_view word);
  bool Number();
  bool SkipValue(int depth);

  absl::string_view text_;
  size_t offset_;
  size_t at_ = 0;
  const char* problem_ = nullptr;
  std::string unescaped_;
};

}  // namespace retort::text
