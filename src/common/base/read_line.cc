#include "common/base/read_line.h"

#include "absl/strings/str_cat.h"

namespace retort {

absl::StatusOr<bool> ReadLine(std::istream& in, size_t max_bytes, std::string* line) {
  constexpr int kEnd = std::istream::traits_type::eof();
  line->clear();
  for (int c = in.get(); c != kEnd; c = in.get()) {
    line->push_back(static_cast<char>(c));
    if (c == '\n') return true;
    if (line->size() > max_bytes) {
      return absl::InvalidArgumentError(absl::StrCat("a line of more than ", max_bytes, " bytes"));
    }
  }
  if (in.bad()) return absl::DataLossError("cannot be read");
  return !line->empty();
}

}  // namespace retort
