#include "driver/store/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "driver/store/journal.h"

namespace retort::driver {
namespace {

absl::StatusOr<UniqueFd> Lock(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoError(errno, path);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " is held by another `retort run` in this folder; wait for it or stop it first"));
  }
  // Whoever held it before may have removed the folder, and with it what everybody else locks.
  struct stat locked {
  }, named{};
  if (fstat(fd.get(), &locked) != 0 || stat(path.c_str(), &named) != 0 ||
      locked.st_ino != named.st_ino || locked.st_dev != named.st_dev) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " was removed by another `retort run` just now; start again"));
  }
  return fd;
}

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// What a run makes before its first epoch is journaled.
const std::vector<std::string>& NamesOfAStart() {
  static const auto* const names = new std::vector<std::string>{"lock",
                                                                "logs",
                                                                "checkpoints",
                                                                "job.yaml",
                                                                "job.yaml.tmp",
                                                                "token",
                                                                "token.tmp",
                                                                "journal.db",
                                                                "journal.db-wal",
                                                                "journal.db-shm",
                                                                "journal.db.new",
                                                                "journal.db.new-journal",
                                                                "journal.db.new-wal",
                                                                "journal.db.new-shm",
                                                                "metrics.jsonl"};
  return *names;
}

absl::Status CheckEmptyOrUnbegun(const std::string& path) {
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path));
  if (names.empty() || IsUnbegun(path)) return absl::OkStatus();
  if (Contains(names, "journal.db")) {
    return absl::FailedPreconditionError(
        absl::StrCat("output.dir ", path, " holds a run already; go on with `retort run --resume ",
                     path, "`, or choose another folder"));
  }
  const std::string& other = names[0] == "lock" && names.size() > 1 ? names[1] : names[0];
  return absl::FailedPreconditionError(
      absl::StrCat("output.dir ", path, " is not empty (", other, "); choose another folder"));
}

}  // namespace

bool IsUnbegun(const std::string& path) {
  const auto names = ListDirectory(path);
  if (!names.ok() || !Contains(*names, "lock")) return false;
  for (const std::string& name : *names) {
    if (!Contains(NamesOfAStart(), name)) return false;
  }
  // Doubt counts as begun: what is unbegun may be removed.
  const auto checkpoints = ListDirectory(path + "/checkpoints");
  if (checkpoints.ok() ? !checkpoints->empty() : FileExists(path + "/checkpoints")) return false;
  if (Contains(*names, "metrics.jsonl") && FileSize(path + "/metrics.jsonl").value_or(1) != 0) {
    return false;
  }
  if (!Contains(*names, "journal.db")) return true;
  const absl::StatusOr<bool> begun = Journal::HasBegun(path + "/journal.db");
  return begun.ok() && !*begun;
}

absl::StatusOr<RunFolder> RunFolder::Create(const std::string& path) {
  if (FileExists(path))
    RETORT_RETURN_IF_ERROR(CheckEmptyOrUnbegun(path));  // No lock is left there.
  RETORT_RETURN_IF_ERROR(MakeDirectories(path, 0700));
  RETORT_ASSIGN_OR_RETURN(UniqueFd lock, Lock(path + "/lock"));
  RETORT_RETURN_IF_ERROR(CheckEmptyOrUnbegun(path));  // Others may have come before the lock did.
  RETORT_RETURN_IF_ERROR(RemoveAllBut(path, {"lock"}));
  return MakeFolders(path, std::move(lock));
}

absl::StatusOr<RunFolder> RunFolder::Open(const std::string& path) {
  const bool has_journal = FileExists(path + "/journal.db");
  if (!has_journal && !IsUnbegun(path)) {
    return absl::NotFoundError(
        absl::StrCat(path, " holds no journal.db; --resume needs the folder of an earlier run"));
  }
  RETORT_ASSIGN_OR_RETURN(UniqueFd lock, Lock(path + "/lock"));
  if (IsUnbegun(path)) {  // Looked at again: until now another process may have worked in it.
    return absl::FailedPreconditionError(absl::StrCat(
        path,
        ": nothing had begun when this run ended; start its job again with `retort run JOB`, "
        "which uses this folder anew"));
  }
  return MakeFolders(path, std::move(lock));
}

absl::StatusOr<RunFolder> RunFolder::MakeFolders(const std::string& path, UniqueFd lock) {
  RunFolder folder(path, std::move(lock));
  RETORT_RETURN_IF_ERROR(MakeDirectories(folder.logs(), 0700));
  RETORT_RETURN_IF_ERROR(MakeDirectories(folder.checkpoints(), 0700));
  return folder;
}

absl::StatusOr<std::string> RunFolder::SetAside(const std::string& checkpoint) const {
  const std::string from = checkpoints() + "/" + checkpoint;
  if (!FileExists(from)) return std::string();
  const std::string folder = path_ + "/unusable";
  RETORT_RETURN_IF_ERROR(MakeDirectories(folder, 0700));
  std::string to = absl::StrCat(folder, "/", checkpoint);
  for (int copy = 2; FileExists(to); ++copy) to = absl::StrCat(folder, "/", checkpoint, "-", copy);
  RETORT_RETURN_IF_ERROR(RenameDurably(from, to));
  return to;
}

absl::Status RunFolder::Remove() const {
  RETORT_RETURN_IF_ERROR(RemoveAllBut(path_, {}));
  std::error_code error;
  if (std::filesystem::is_symlink(path_, error)) return absl::OkStatus();
  return RemoveRecursively(path_);
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
