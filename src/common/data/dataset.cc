#include "common/data/dataset.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"
#include "common/base/utf8.h"
#include "common/text/json_cursor.h"
#include "nlohmann/json.hpp"

namespace retort::data {
namespace {

constexpr int64_t kChunkBytes = int64_t{1} << 20;
constexpr char kKnownForms[] =
    "expected {\"prompt\", \"answer\"}, {\"prompt\", \"response\"} or {\"messages\"}";

// What a writer of tables puts where a row has no such column is as if it were not there.
bool Has(const Json& object, const char* key) {
  return object.contains(key) && !object[key].is_null();
}

absl::Status TextOf(const Json& object, const char* key, absl::string_view where,
                    std::string* text) {
  const Json& value = object.at(key);
  if (!value.is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": \"", key, "\" is of type ",
                                                   value.type_name(), "; expected a string"));
  }
  *text = value.get_ref<const std::string&>();
  return absl::OkStatus();
}

// "messages" or "tools": an array of objects.
absl::Status CheckObjects(const Json& object, const char* key, absl::string_view where) {
  const Json& array = object.at(key);
  if (!array.is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": \"", key, "\" is of type ", array.type_name(), "; expected an array of objects"));
  }
  for (size_t i = 0; i < array.size(); ++i) {
    if (array[i].is_object()) continue;
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", key, "[", i, "] is of type ",
                                                   array[i].type_name(), "; expected an object"));
  }
  return absl::OkStatus();
}

absl::Status CheckMessages(const Json& object, absl::string_view where) {
  for (const char* other : {"prompt", "response"}) {
    if (!Has(object, other)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": both \"messages\" and \"", other, "\"; ", kKnownForms));
  }
  RETORT_RETURN_IF_ERROR(CheckObjects(object, "messages", where));
  const Json& messages = object["messages"];
  if (messages.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": \"messages\" is empty; expected at least one message"));
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].contains("role") && messages[i]["role"].is_string()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": messages[", i, "] has no \"role\"; expected {\"role\": \"user\", …}"));
  }
  return Has(object, "tools") ? CheckObjects(object, "tools", where) : absl::OkStatus();
}

// The text of messages and tools as it is in the line, which is an object without duplicate keys:
// a number of any size reaches the template unchanged.
absl::Status TakeSource(absl::string_view line, absl::string_view where, Row* row) {
  text::JsonCursor cursor(line);
  cursor.Take('{');
  for (bool first = true; cursor.More('}', &first);) {
    absl::string_view key, value;
    if (!cursor.String(&key)) break;
    std::string* const target = key == "messages" ? &row->messages
                                : key == "tools"  ? &row->tools
                                                  : nullptr;
    if (!cursor.Take(':') || !cursor.Skip(&value)) break;
    if (target != nullptr && value != "null") *target = std::string(value);
  }
  if (cursor.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", cursor.error()));
}

absl::Status ReadMessages(const Json& object, absl::string_view line, absl::string_view where,
                          Row* row) {
  RETORT_RETURN_IF_ERROR(CheckMessages(object, where));
  RETORT_RETURN_IF_ERROR(TakeSource(line, where, row));
  const Json& messages = object["messages"];
  const Json& last = messages.back();
  const bool answered = last["role"] == "assistant";
  row->prompt_messages = static_cast<int64_t>(messages.size()) - (answered ? 1 : 0);
  if (Has(object, "answer")) {
    row->has_response = true;
    return TextOf(object, "answer", where, &row->response);
  }
  if (answered && last.contains("content") && last["content"].is_string()) {
    row->has_response = true;
    row->response = last["content"].get_ref<const std::string&>();
  }
  return absl::OkStatus();
}

absl::Status ReadObject(const Json& object, absl::string_view line, absl::string_view where,
                        Row* row) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": the line is of type ", object.type_name(), "; expected one JSON object a line"));
  }
  if (Has(object, "messages")) return ReadMessages(object, line, where, row);
  if (!Has(object, "prompt")) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": no \"prompt\"; ", kKnownForms));
  }
  RETORT_RETURN_IF_ERROR(TextOf(object, "prompt", where, &row->prompt));
  const bool answer = Has(object, "answer");
  const bool response = Has(object, "response");
  if (answer && response) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": both \"answer\" and \"response\"; ", kKnownForms));
  }
  if (!answer && !response) return absl::OkStatus();
  row->has_response = true;
  return TextOf(object, answer ? "answer" : "response", where, &row->response);
}

}  // namespace

// Cuts a stream of bytes into lines and lines into rows.
class DatasetReader {
 public:
  DatasetReader(absl::string_view source, const DatasetBounds& bounds) : bounds_(bounds) {
    dataset_.source_ = std::string(source);
  }

  absl::Status Feed(absl::string_view bytes) {
    hasher_.Update(bytes);
    while (!bytes.empty()) {
      const size_t end = bytes.find('\n');
      const absl::string_view part = bytes.substr(0, end);
      if (static_cast<int64_t>(line_.size() + part.size()) > bounds_.max_line_bytes) {
        return Error(line_number_, absl::StrCat("the line is longer than ", bounds_.max_line_bytes,
                                                " bytes; expected one JSON object a line"));
      }
      line_.append(part.data(), part.size());
      if (end == absl::string_view::npos) return absl::OkStatus();
      RETORT_RETURN_IF_ERROR(EndLine());
      bytes.remove_prefix(end + 1);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Dataset> Finish() {
    RETORT_RETURN_IF_ERROR(EndLine());
    if (dataset_.rows_.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(dataset_.source_, ": no rows; ", kKnownForms, " on every line"));
    }
    dataset_.rows_.shrink_to_fit();
    dataset_.digest_ = hasher_.Finish();
    return std::move(dataset_);
  }

 private:
  absl::Status Error(int64_t line, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(dataset_.source_, ":", line, ": ", what));
  }

  absl::Status EndLine() {
    const int64_t line = line_number_++;
    if (line_.find_first_not_of(" \t\r") == std::string::npos) {
      line_.clear();
      return absl::OkStatus();
    }
    if (const auto bad = FirstInvalidByte(line_)) {
      return Error(line, absl::StrCat("not UTF-8 at byte ", *bad + 1,
                                      " of the line; expected UTF-8 without a byte order mark"));
    }
    if (dataset_.size() == bounds_.max_rows) {
      return Error(line, absl::StrCat("more than ", bounds_.max_rows, " rows; split the file"));
    }
    const std::string where = absl::StrCat(dataset_.source_, ":", line);
    RETORT_ASSIGN_OR_RETURN(const Json object, ParseJson(line_, where));
    Row row;
    row.line = line;
    RETORT_RETURN_IF_ERROR(ReadObject(object, line_, where, &row));
    dataset_.rows_.push_back(std::move(row));
    line_.clear();
    return absl::OkStatus();
  }

  const DatasetBounds bounds_;
  Dataset dataset_;
  Hasher hasher_;
  std::string line_;  // The part of the current line that was fed so far.
  int64_t line_number_ = 1;
};

absl::StatusOr<Dataset> Dataset::Parse(absl::string_view text, absl::string_view source,
                                       const DatasetBounds& bounds) {
  DatasetReader reader(source, bounds);
  RETORT_RETURN_IF_ERROR(reader.Feed(text));
  return reader.Finish();
}

absl::StatusOr<Dataset> Dataset::Load(const std::string& path, const DatasetBounds& bounds) {
  RETORT_ASSIGN_OR_RETURN(const int64_t bytes, FileSize(path));
  if (bytes > bounds.max_file_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", bytes, " bytes; expected at most ",
                                                   bounds.max_file_bytes, "; split the file"));
  }
  RETORT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenRegularFile(path));
  DatasetReader reader(path, bounds);
  std::string chunk;
  for (int64_t offset = 0; offset < bytes; offset += static_cast<int64_t>(chunk.size())) {
    chunk.resize(std::min(kChunkBytes, bytes - offset));
    RETORT_RETURN_IF_ERROR(
        ReadAt(fd.get(), path, offset, static_cast<int64_t>(chunk.size()), chunk.data()));
    RETORT_RETURN_IF_ERROR(reader.Feed(chunk));
  }
  return reader.Finish();
}

std::string Dataset::Where(int64_t index) const {
  return absl::StrCat(source_, ":", rows_[index].line);
}

}  // namespace retort::data
