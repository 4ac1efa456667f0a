#include "driver/store/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace retort::driver {
namespace {

absl::StatusOr<UniqueFd> Lock(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoError(errno, path);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " is held by another `retort run` in this folder; wait for it or stop it first"));
  }
  return fd;
}

}  // namespace

absl::StatusOr<RunFolder> RunFolder::Create(const std::string& path) {
  if (FileExists(path)) {
    RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path));
    if (std::find(names.begin(), names.end(), "journal.db") != names.end()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "output.dir ", path, " holds a run already; go on with `retort run --resume ", path,
          "`, or choose another folder"));
    }
    if (!names.empty()) {
      return absl::FailedPreconditionError(absl::StrCat("output.dir ", path, " is not empty (",
                                                        names[0], "); choose another folder"));
    }
  }
  RETORT_RETURN_IF_ERROR(MakeDirectories(path, 0700));
  RETORT_ASSIGN_OR_RETURN(UniqueFd lock, Lock(path + "/lock"));
  RunFolder folder(path, std::move(lock));
  RETORT_RETURN_IF_ERROR(MakeDirectories(folder.logs(), 0700));
  RETORT_RETURN_IF_ERROR(MakeDirectories(folder.checkpoints(), 0700));
  return folder;
}

absl::StatusOr<RunFolder> RunFolder::Open(const std::string& path) {
  if (!FileExists(path + "/journal.db")) {
    return absl::NotFoundError(
        absl::StrCat(path, " holds no journal.db; --resume needs the folder of an earlier run"));
  }
  RETORT_ASSIGN_OR_RETURN(UniqueFd lock, Lock(path + "/lock"));
  RunFolder folder(path, std::move(lock));
  RETORT_RETURN_IF_ERROR(MakeDirectories(folder.logs(), 0700));
  RETORT_RETURN_IF_ERROR(MakeDirectories(folder.checkpoints(), 0700));
  return folder;
}

std::string LastLines(const std::string& path, int lines) {
  constexpr int64_t kTail = 64 << 10;
  const absl::StatusOr<int64_t> size = FileSize(path);
  if (!size.ok() || *size == 0) return "";
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text(std::min(*size, kTail), '\0');
  if (!fd.valid() || !ReadAt(fd.get(), path, *size - text.size(), text.size(), text.data()).ok()) {
    return "";
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  size_t begin = text.size();
  for (int i = 0; i < lines && begin != std::string::npos && begin > 0; ++i) {
    begin = text.rfind('\n', begin - 1);
  }
  return begin == std::string::npos || begin == 0 ? text : text.substr(begin + 1);
}

absl::Status RemoveAllBut(const std::string& folder, const std::vector<std::string>& keep) {
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(folder));
  for (const std::string& name : names) {
    if (std::find(keep.begin(), keep.end(), name) != keep.end()) continue;
    RETORT_RETURN_IF_ERROR(RemoveRecursively(folder + "/" + name));
  }
  return absl::OkStatus();
}

}  // namespace retort::driver
