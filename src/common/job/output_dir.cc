#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/job/plan.h"

namespace retort::job {
namespace {

namespace fs = std::filesystem;

// The folder itself or, where it will be made, its nearest ancestor that is there.
absl::Status CheckCanWrite(const std::string& dir) {
  std::error_code error;
  fs::path at(dir);
  while (!fs::exists(fs::symlink_status(at, error)) && at.has_relative_path()) {
    at = at.parent_path();
  }
  if (!fs::is_directory(at, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat(dir, " cannot be made: ", at.string(), " is not a folder; choose another"));
  }
  if (access(at.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      dir, " cannot be written: ", ErrnoError(errno, at.string()).message(), "; choose another"));
}

absl::Status CheckHoldsNothing(const std::string& dir) {
  if (!FileExists(dir)) return absl::OkStatus();
  for (const char* name : {"journal.db", "metrics.jsonl", "checkpoints", "model"}) {
    if (!FileExists(absl::StrCat(dir, "/", name))) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        dir, " already holds a run (", name, "); continue it with `retort run --resume ", dir,
        "`, or choose another folder, or remove it"));
  }
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(dir));
  if (names.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(dir, " is not empty (", Printable(names[0]),
                                                    "); choose another folder, or remove it"));
}

}  // namespace

absl::Status CheckOutputDir(const v1::JobSpec& spec, const FieldPositions& positions) {
  const std::string& dir = spec.output().dir();
  RETORT_RETURN_IF_ERROR(positions.Wrap("output.dir", CheckCanWrite(dir)));
  return positions.Wrap("output.dir", CheckHoldsNothing(dir));
}

}  // namespace retort::job
