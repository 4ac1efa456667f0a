// Files with bounds on reading and durability on writing. All errors name the path and errno's
// text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/unique_fd.h"

namespace retort {

// For reading. INVALID_ARGUMENT for anything but a regular file; never waits, as opening a pipe
// would.
absl::StatusOr<UniqueFd> OpenRegularFile(const std::string& path);

// Everything up to the end of a file or pipe, and of the files of /proc, whose size says 0.
// NOT_FOUND if it does not exist; OUT_OF_RANGE if there are more than `max_bytes`; INVALID_ARGUMENT
// if it is a directory. Waits for what a pipe's writer still has to say; a pipe without one is
// empty.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes);

// Bytes [offset, offset + size) into `out`, by pread. DATA_LOSS if the file ends before.
absl::Status ReadAt(int fd, const std::string& path, int64_t offset, int64_t size, void* out);

// All of `data` at the descriptor's position. `path` is for the error.
absl::Status WriteAll(int fd, absl::string_view data, const std::string& path);

absl::StatusOr<int64_t> FileSize(const std::string& path);
bool FileExists(const std::string& path);

// Writes `path`.tmp, fsyncs, renames over `path`, fsyncs the folder: a reader sees the old file or
// the new one.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents);

// Writes and fsyncs; the caller renames the folder that holds it. RESOURCE_EXHAUSTED when the disk
// is full.
absl::Status WriteFileDurably(const std::string& path, absl::string_view contents);

absl::Status FsyncDirectory(const std::string& path);
absl::Status MakeDirectories(const std::string& path, unsigned mode = 0755);
absl::Status RemoveRecursively(const std::string& path);  // OK when nothing is there.
absl::Status RenameDurably(const std::string& from, const std::string& to);
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);  // Names, sorted.

// `path` if absolute, else base_dir/path; lexically normalised.
std::string ResolvePath(const std::string& base_dir, const std::string& path);

// The folder that holds the running executable.
std::string ExecutableDirectory();

absl::Status ErrnoError(int error_number, absl::string_view what);

}  // namespace retort
