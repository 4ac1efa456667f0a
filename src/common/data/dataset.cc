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

namespace retort::data {
namespace {

constexpr int64_t kChunkBytes = int64_t{1} << 20;
constexpr char kKnownForms[] =
    "expected {\"prompt\", \"answer\"}, {\"prompt\", \"response\"} or {\"messages\"}";

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

absl::Status ContentOf(const Json& message, absl::string_view role, absl::string_view where,
                       std::string* text) {
  if (!message.is_object() || !message.contains("role") || message["role"] != std::string(role) ||
      !message.contains("content") || !message["content"].is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(
        where,
        ": \"messages\" needs a chat template; expected exactly two messages, {\"role\": "
        "\"user\"} then {\"role\": \"assistant\"}, each with a string \"content\"; apply the "
        "template yourself and write {\"prompt\", \"response\"}"));
  }
  *text = message["content"].get_ref<const std::string&>();
  for (const auto& [key, value] : message.items()) {
    if (key == "role" || key == "content") continue;
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": a message has the key \"", Printable(key),
                     "\", which needs a chat template; expected only \"role\" and \"content\""));
  }
  return absl::OkStatus();
}

absl::Status ReadMessages(const Json& object, absl::string_view where, Row* row) {
  if (object.contains("prompt")) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": both \"messages\" and \"prompt\"; ", kKnownForms));
  }
  const Json& messages = object["messages"];
  const bool two = messages.is_array() && messages.size() == 2;
  RETORT_RETURN_IF_ERROR(ContentOf(two ? messages[0] : Json(), "user", where, &row->prompt));
  RETORT_RETURN_IF_ERROR(ContentOf(messages[1], "assistant", where, &row->response));
  row->has_response = true;
  return absl::OkStatus();
}

absl::Status ReadObject(const Json& object, absl::string_view where, Row* row) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": the line is of type ", object.type_name(), "; expected one JSON object a line"));
  }
  if (object.contains("messages")) return ReadMessages(object, where, row);
  if (!object.contains("prompt")) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": no \"prompt\"; ", kKnownForms));
  }
  RETORT_RETURN_IF_ERROR(TextOf(object, "prompt", where, &row->prompt));
  const bool answer = object.contains("answer");
  const bool response = object.contains("response");
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
    RETORT_RETURN_IF_ERROR(ReadObject(object, where, &row));
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
