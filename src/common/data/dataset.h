// Rows of a JSONL file: one JSON object a line, read and checked as a whole before training starts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/digest.h"

namespace retort::data {

struct Row {
  std::string prompt;  // Empty where there are messages.
  // The line's "response" or "answer"; with messages and no "answer", the content of the last
  // message if that is the assistant's and text. Empty when there is none.
  std::string response;
  bool has_response = false;  // An empty response is a response.

  // A conversation: JSON arrays of objects as the line spells them. Empty: none.
  std::string messages;
  std::string tools;
  int64_t prompt_messages = 0;  // The first so many ask: all but a last one of the assistant.

  int64_t line = 0;  // In the file, from 1: blank lines hold no row.

  bool is_chat() const { return !messages.empty(); }
};

struct DatasetBounds {
  int64_t max_file_bytes = int64_t{8} << 30;
  int64_t max_line_bytes = int64_t{1} << 20;
  int64_t max_rows = 10'000'000;
};

// Immutable after Load; safe to read from many threads.
class Dataset {
 public:
  // Forms of a line, told apart by their keys; every other key is carried by no row and ignored,
  // and so is one whose value is null:
  //   {"prompt": "…", "answer": "…"}, {"prompt": "…", "response": "…"}, {"prompt": "…"}
  //   {"messages": [{"role": "…", "content": …}, …]}, with or without "tools": […] and "answer":
  //   "…"
  // Blank lines are skipped; the last line needs no newline.
  // Errors, each "path:line: what; expected …": INVALID_ARGUMENT for a line that is not UTF-8, not
  // one JSON object, of no known form or above a bound, and for a file without rows; NOT_FOUND.
  static absl::StatusOr<Dataset> Load(const std::string& path, const DatasetBounds& bounds = {});

  // The same for text in memory; `source` stands for the path in errors.
  static absl::StatusOr<Dataset> Parse(absl::string_view text, absl::string_view source,
                                       const DatasetBounds& bounds = {});

  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  const Row& row(int64_t index) const { return rows_[index]; }  // 0 <= index < size().
  const std::string& source() const { return source_; }
  Digest digest() const { return digest_; }  // Of the file's bytes.

  // "path:line", to name a row in an error.
  std::string Where(int64_t index) const;

 private:
  friend class DatasetReader;
  Dataset() = default;

  std::string source_;
  std::vector<Row> rows_;
  Digest digest_;
};

}  // namespace retort::data
