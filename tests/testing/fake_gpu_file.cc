#include "testing/fake_gpu_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/process_identity.h"

namespace retort::gpu {
namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kAlignment = int64_t{2} << 20;
static_assert(sizeof(FakeTrailer) <= kPage);

bool WordIsAlive(uint64_t word) { return word != 0 && IsAlive(UnpackProcess(word)); }

int64_t InPages(int64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// Address space of `bytes`, 2 MiB-aligned.
std::byte* MapAligned(int fd, int64_t bytes) {
  const size_t span = static_cast<size_t>(bytes + kAlignment);
  void* const room =
      mmap(nullptr, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return nullptr;
  const uintptr_t start = reinterpret_cast<uintptr_t>(room);
  const uintptr_t aligned = (start + kAlignment - 1) & ~uintptr_t{kAlignment - 1};
  void* const data = mmap(reinterpret_cast<void*>(aligned), bytes, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_FIXED, fd, 0);
  if (aligned > start) munmap(room, aligned - start);
  const uintptr_t end = aligned + static_cast<uintptr_t>(bytes);
  if (start + span > end) munmap(reinterpret_cast<void*>(end), start + span - end);
  return data == MAP_FAILED ? nullptr : static_cast<std::byte*>(data);
}

}  // namespace

uint64_t FakeRandomWord() {
  uint64_t word = 0;
  RETORT_CHECK(getrandom(&word, sizeof(word), 0) == sizeof(word));
  return word | 1;
}

absl::Status FakeInvalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("fake GPU: ", what));
}

absl::StatusOr<std::shared_ptr<FakeGpuFile>> FakeGpuFile::Create(int64_t bytes, bool shared) {
  auto file = std::make_shared<FakeGpuFile>();
  file->fd_ = UniqueFd(memfd_create("fake_gpu", MFD_CLOEXEC));
  if (!file->fd_.valid() || ftruncate(file->fd_.get(), InPages(bytes) + kPage) != 0 ||
      !file->Map(file->fd_.get(), bytes)) {
    return absl::ResourceExhaustedError(absl::StrCat("fake GPU: no memory for ", bytes, " bytes"));
  }
  file->shared_ = shared;
  file->nonce_ = FakeRandomWord();
  file->trailer().nonce.store(file->nonce_);
  return file;
}

absl::StatusOr<std::shared_ptr<FakeGpuFile>> FakeGpuFile::Open(const FakeTicket& ticket) {
  const std::string path = absl::StrCat("/proc/", ticket.pid, "/fd/", ticket.fd);
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  struct stat info {};
  if (!fd.valid() || fstat(fd.get(), &info) != 0 || ticket.bytes < 1 ||
      info.st_size != InPages(ticket.bytes) + kPage) {
    return FakeInvalid("the handle's exporter has freed it or ended (invalid resource handle)");
  }
  auto file = std::make_shared<FakeGpuFile>();
  if (!file->Map(fd.get(), ticket.bytes)) return FakeInvalid("the handle cannot be mapped");
  if (file->trailer().nonce.load() != ticket.nonce || ticket.nonce == 0) {
    return FakeInvalid("the handle is stale (invalid resource handle)");
  }
  file->nonce_ = ticket.nonce;
  return file;
}

FakeGpuFile::~FakeGpuFile() {
  if (opener_ != nullptr) opener_->store(0);
  if (data_ != nullptr) munmap(data_, InPages(bytes_) + kPage);
}

bool FakeGpuFile::Map(int fd, int64_t bytes) {
  bytes_ = bytes;
  data_ = MapAligned(fd, InPages(bytes) + kPage);
  return data_ != nullptr;
}

FakeTicket FakeGpuFile::ToTicket(uint64_t instance, bool is_event) const {
  return {nonce_, instance, getpid(), bytes_, fd_.get(), is_event ? 1 : 0};
}

bool FakeGpuFile::Contains(const void* address) const {
  const auto* const at = static_cast<const std::byte*>(address);
  return at >= data_ && at < data_ + InPages(bytes_);
}

FakeTrailer& FakeGpuFile::trailer() const {
  return *reinterpret_cast<FakeTrailer*>(data_ + InPages(bytes_));
}

bool FakeGpuFile::AddOpener(uint64_t process) {
  for (std::atomic<uint64_t>& entry : trailer().openers) {
    uint64_t holder = entry.load();
    if (holder != 0 && WordIsAlive(holder)) continue;
    if (!entry.compare_exchange_strong(holder, process)) continue;
    opener_ = &entry;
    return true;
  }
  return false;
}

std::optional<int64_t> FakeGpuFile::LivingOpener() const {
  for (const std::atomic<uint64_t>& entry : trailer().openers) {
    const uint64_t holder = entry.load();
    if (WordIsAlive(holder)) return UnpackProcess(holder).pid;
  }
  return std::nullopt;
}

bool FakeGpuFile::IsDone(uint64_t record) const {
  if (trailer().done.load() >= record) return true;
  const uint64_t recorder = trailer().recorder.load();
  return recorder != 0 && !WordIsAlive(recorder);  // Its context is gone, and its work.
}

}  // namespace retort::gpu
