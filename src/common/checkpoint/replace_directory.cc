#include "common/checkpoint/replace_directory.h"

#include <fcntl.h>
#include <stdio.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace retort::checkpoint {

absl::Status ReplaceDirectory(const std::string& staging, const std::string& target) {
  if (!FileExists(target)) return RenameDurably(staging, target);
  if (renameat2(AT_FDCWD, staging.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) != 0) {
    return ErrnoError(errno, absl::StrCat("exchange ", staging, " with ", target));
  }
  RETORT_RETURN_IF_ERROR(FsyncDirectory(std::filesystem::path(target).parent_path().string()));
  return RemoveRecursively(staging);  // It holds the old folder now.
}

}  // namespace retort::checkpoint
