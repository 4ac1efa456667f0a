#include "common/ring/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"

namespace retort::ring {
namespace {

constexpr int64_t kHugePageBytes = int64_t{2} << 20;

absl::Status CheckSealedSize(int fd, int64_t bytes, absl::string_view name) {
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoError(errno, absl::StrCat("segment ", name, ": fstat"));
  if (info.st_size != bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("segment ", name, " has ", info.st_size, " bytes, expected ", bytes));
  }
  constexpr int kSizeSeals = F_SEAL_GROW | F_SEAL_SHRINK;
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSizeSeals) != kSizeSeals) {
    return absl::FailedPreconditionError(absl::StrCat(
        "segment ", name, ": its size is not sealed; only the broker's memory is used"));
  }
  return absl::OkStatus();
}

// A 2 MiB-aligned address: only there can the kernel back the mapping by huge pages.
void* MapAligned(int fd, int64_t bytes, int protection) {
  const size_t span = static_cast<size_t>(bytes + kHugePageBytes);
  void* const room =
      mmap(nullptr, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return MAP_FAILED;
  const uintptr_t start = reinterpret_cast<uintptr_t>(room);
  const uintptr_t aligned = (start + kHugePageBytes - 1) & ~uintptr_t{kHugePageBytes - 1};
  void* const data =
      mmap(reinterpret_cast<void*>(aligned), bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0);
  const int error = errno;
  if (data == MAP_FAILED) {
    munmap(room, span);
    errno = error;
    return MAP_FAILED;
  }
  const uintptr_t page = static_cast<uintptr_t>(getpagesize());
  const uintptr_t end = (aligned + bytes + page - 1) & ~(page - 1);
  if (aligned > start) munmap(room, aligned - start);
  if (start + span > end) munmap(reinterpret_cast<void*>(end), start + span - end);
  // Advice only: where shared huge pages are off, the mapping works with small ones.
  madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

}  // namespace

absl::StatusOr<Segment> Segment::Map(UniqueFd fd, int64_t bytes, Access access,
                                     absl::string_view name) {
  if (bytes <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("segment ", name, ": ", bytes, " bytes; expected at least 1"));
  }
  if (absl::Status status = CheckSealedSize(fd.get(), bytes, name); !status.ok()) return status;
  const int protection = access == Access::kReadOnly ? PROT_READ : PROT_READ | PROT_WRITE;
  void* const data = bytes >= kHugePageBytes
                         ? MapAligned(fd.get(), bytes, protection)
                         : mmap(nullptr, bytes, protection, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    if (error == ENOMEM) {
      return absl::ResourceExhaustedError(
          absl::StrCat("segment ", name, ": no address space for ", bytes, " bytes"));
    }
    return ErrnoError(error, absl::StrCat("segment ", name, ": mmap of ", bytes, " bytes"));
  }
  return Segment(static_cast<std::byte*>(data), bytes);
}

Segment::Segment(Segment&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Segment& Segment::operator=(Segment&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Segment::~Segment() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

std::shared_ptr<std::byte> ShareMemory(Segment segment) {
  auto owner = std::make_shared<Segment>(std::move(segment));
  return std::shared_ptr<std::byte>(owner, owner->data());
}

}  // namespace retort::ring
