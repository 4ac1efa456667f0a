#include "common/base/text_argument.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace retort {
namespace {

constexpr int64_t kMaxInputBytes = 64 << 20;

}  // namespace

absl::StatusOr<std::string> ReadStandardInput(int64_t max_bytes) {
  constexpr size_t kChunk = 64 << 10;
  struct stat info;
  if (fstat(STDIN_FILENO, &info) != 0) return ErrnoError(errno, "standard input");
  // A closed one's number may be an event counter of some library by now, which never ends.
  if ((info.st_mode & S_IFMT) == 0) {
    return absl::InvalidArgumentError("standard input: is closed; expected a file, pipe or socket");
  }
  std::string text;
  while (true) {
    const size_t had = text.size();
    text.resize(had + kChunk);
    const ssize_t got = read(STDIN_FILENO, text.data() + had, kChunk);
    const int error = errno;
    text.resize(had + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) return text;
    if (got < 0 && error == EAGAIN) {
      pollfd ready{STDIN_FILENO, POLLIN, 0};
      if (poll(&ready, 1, -1) < 0 && errno != EINTR) return ErrnoError(errno, "standard input");
    } else if (got < 0 && error != EINTR) {
      return ErrnoError(error, "standard input");
    }
    if (static_cast<int64_t>(text.size()) > max_bytes) {
      return absl::OutOfRangeError(absl::StrCat("standard input: more than ", max_bytes,
                                                " bytes, at most so many are read"));
    }
  }
}

absl::StatusOr<std::string> TextArgument(const std::string& argument, bool replace_invalid_utf8) {
  std::string text = argument;
  if (argument == "-") {
    RETORT_ASSIGN_OR_RETURN(text, ReadStandardInput(kMaxInputBytes));
  }
  return replace_invalid_utf8 ? LossyUtf8(text) : text;
}

}  // namespace retort
