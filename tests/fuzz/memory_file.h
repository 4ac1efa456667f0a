// A file for parsers that want a path: in memory, so that thousands of them cost no disk.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "common/base/unique_fd.h"

namespace retort::fuzz {

class MemoryFile {
 public:
  MemoryFile() : fd_(memfd_create("fuzz", MFD_CLOEXEC)) { RETORT_CHECK(fd_.valid()); }

  // Replaces what it holds.
  void Write(absl::string_view bytes) {
    RETORT_CHECK(ftruncate(fd_.get(), 0) == 0);
    const ssize_t put = pwrite(fd_.get(), bytes.data(), bytes.size(), 0);
    RETORT_CHECK(put == static_cast<ssize_t>(bytes.size()));
  }

  int fd() const { return fd_.get(); }
  std::string path() const { return absl::StrCat("/proc/self/fd/", fd_.get()); }

 private:
  UniqueFd fd_;
};

}  // namespace retort::fuzz
