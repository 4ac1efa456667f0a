#include "common/base/file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace retort {
namespace fs = std::filesystem;

namespace {

// Anything but a folder. Without O_NONBLOCK a pipe that nobody writes to would wait here for ever.
absl::StatusOr<UniqueFd> OpenForReading(const std::string& path, struct stat* info) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid() || fstat(fd.get(), info) != 0) return ErrnoError(errno, path);
  if (!S_ISDIR(info->st_mode)) return fd;
  return absl::InvalidArgumentError(absl::StrCat(path, ": is a directory, expected a file"));
}

}  // namespace

absl::Status ErrnoError(int error_number, absl::string_view what) {
  const std::string message = absl::StrCat(what, ": ", std::strerror(error_number));
  switch (error_number) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENOMEM:
      return absl::ResourceExhaustedError(message);
    case EEXIST:
      return absl::AlreadyExistsError(message);
    case EISDIR:
    case ENOTDIR:
      return absl::InvalidArgumentError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::Status ReadAt(int fd, const std::string& path, int64_t offset, int64_t size, void* out) {
  char* next = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t got = pread(fd, next, std::min<int64_t>(size, int64_t{1} << 30), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, path);
    if (got == 0) {
      return absl::DataLossError(absl::StrCat(
          path, ": the file ends ", size, " bytes early (truncated while or before it was read)"));
    }
    next += got;
    offset += got;
    size -= got;
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> OpenRegularFile(const std::string& path) {
  struct stat info;
  RETORT_ASSIGN_OR_RETURN(UniqueFd fd, OpenForReading(path, &info));
  if (S_ISREG(info.st_mode)) return fd;
  return absl::InvalidArgumentError(absl::StrCat(path, ": is not a regular file"));
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  struct stat info;
  RETORT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenForReading(path, &info));
  if (info.st_size > max_bytes) {
    return absl::OutOfRangeError(
        absl::StrCat(path, ": ", info.st_size, " bytes, at most ", max_bytes, " are read"));
  }
  // Pipes and the files of /proc do not know their size: only the end of the file tells.
  constexpr int64_t kChunk = 64 << 10;
  std::string text;
  text.reserve(info.st_size + 1);
  while (true) {
    const size_t had = text.size();
    text.resize(had + std::max<int64_t>(kChunk, info.st_size + 1 - static_cast<int64_t>(had)));
    const ssize_t got = read(fd.get(), text.data() + had, text.size() - had);
    const int error = errno;
    text.resize(had + std::max<ssize_t>(got, 0));
    if (got == 0) return text;
    if (got < 0 && error == EAGAIN) {
      pollfd ready{fd.get(), POLLIN, 0};
      if (poll(&ready, 1, -1) < 0 && errno != EINTR) return ErrnoError(errno, path);
    } else if (got < 0 && error != EINTR) {
      return ErrnoError(error, path);
    }
    if (static_cast<int64_t>(text.size()) > max_bytes) {
      return absl::OutOfRangeError(
          absl::StrCat(path, ": more than ", max_bytes, " bytes, at most so many are read"));
    }
  }
}

absl::Status WriteAll(int fd, absl::string_view data, const std::string& path) {
  while (!data.empty()) {
    const ssize_t put = write(fd, data.data(), std::min<size_t>(data.size(), size_t{1} << 30));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoError(errno, path);
    data.remove_prefix(put);
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> FileSize(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return ErrnoError(errno, path);
  return info.st_size;
}

bool FileExists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

absl::Status WriteFileDurably(const std::string& path, absl::string_view contents) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return ErrnoError(errno, path);
  RETORT_RETURN_IF_ERROR(WriteAll(fd.get(), contents, path));
  if (fsync(fd.get()) != 0) return ErrnoError(errno, absl::StrCat(path, ": fsync"));
  if (close(fd.Release()) != 0) return ErrnoError(errno, absl::StrCat(path, ": close"));
  return absl::OkStatus();
}

absl::Status FsyncDirectory(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, path);
  if (fsync(fd.get()) != 0) return ErrnoError(errno, absl::StrCat(path, ": fsync"));
  return absl::OkStatus();
}

absl::Status RenameDurably(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) {
    return ErrnoError(errno, absl::StrCat("rename ", from, " to ", to));
  }
  const std::string parent = fs::path(to).parent_path().string();
  return FsyncDirectory(parent.empty() ? "." : parent);
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents) {
  const std::string temporary = absl::StrCat(path, ".tmp");
  const absl::Status written = WriteFileDurably(temporary, contents);
  if (!written.ok()) {
    unlink(temporary.c_str());
    return written;
  }
  return RenameDurably(temporary, path);
}

absl::Status MakeDirectories(const std::string& path, unsigned mode) {
  std::error_code error;
  const bool existed = fs::is_directory(path, error);
  fs::create_directories(path, error);
  if (error) return ErrnoError(error.value(), absl::StrCat("create folder ", path));
  if (!existed && chmod(path.c_str(), mode) != 0) return ErrnoError(errno, path);
  return absl::OkStatus();
}

absl::Status RemoveRecursively(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return ErrnoError(error.value(), absl::StrCat("remove ", path));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) return ErrnoError(error.value(), path);
  std::sort(names.begin(), names.end());
  return names;
}

std::string ResolvePath(const std::string& base_dir, const std::string& path) {
  const fs::path p(path);
  return (p.is_absolute() ? p : fs::path(base_dir) / p).lexically_normal().string();
}

std::string ExecutableDirectory() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path().string();
}

}  // namespace retort
