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
  std::string prompt;
  std::string response;       // The line's "response" or "answer"; empty when it has neither.
  bool has_response = false;  // An empty response is a response.
  int64_t line = 0;           // In the file, from 1: blank lines hold no row.
};

struct DatasetBounds {
  int64_t max_file_bytes = int64_t{8} << 30;
  int64_t max_line_bytes = int64_t{1} << 20;
  int64_t max_rows = 10'000'000;
};

// Immutable after Load; safe to read from many threads.
class Dataset {
 public:
  // Forms of a line, told apart by their keys; every other key is carried by no row and ignored:
  //   {"prompt": "…", "answer": "…"}, {"prompt": "…", "response": "…"}, {"prompt": "…"}
  //   {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
  // The two contents become prompt and response verbatim: no chat template is applied, so a
  // conversation that needs one (a system message, several turns, tools) is refused.
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
