#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/job/job_file.h"

namespace retort::job {

std::string PlaceAndKey(absl::string_view where, absl::string_view key) {
  if (where.empty() || where == absl::StrCat("--set ", key)) {
    return std::string(where.empty() ? key : where);
  }
  return absl::StrCat(where, ": ", key);
}

std::string FieldPositions::Where(absl::string_view field) const {
  for (std::string at(field); !at.empty();) {
    if (const auto found = where_.find(at); found != where_.end()) return found->second;
    const size_t dot = at.rfind('.');
    at.resize(dot == std::string::npos ? 0 : dot);
  }
  const auto root = where_.find("");
  return root == where_.end() ? "" : root->second;
}

absl::Status FieldPositions::Error(absl::string_view field, absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(PlaceAndKey(Where(field), field), " ", what));
}

absl::Status FieldPositions::Wrap(absl::string_view field, const absl::Status& status) const {
  return WithContext(status, PlaceAndKey(Where(field), field));
}

}  // namespace retort::job
