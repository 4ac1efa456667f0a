// What stands behind a FakeGpu's memory and events: a memfd that other processes open through its
// descriptor in /proc. Internal to the fake.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/unique_fd.h"

namespace retort::gpu {

inline constexpr size_t kMaxOpeners = 64;

// What a handle says. Plain bytes in the 64 of a MemoryHandle or EventHandle.
struct FakeTicket {
  uint64_t nonce = 0;
  uint64_t instance = 0;  // The FakeGpu that exported it.
  int64_t pid = 0;
  int64_t bytes = 0;
  int32_t fd = -1;
  int32_t is_event = 0;
};

// The last page of the file.
struct FakeTrailer {
  std::atomic<uint64_t> nonce;  // 0: freed.
  std::atomic<uint64_t> openers[kMaxOpeners];
  // Of an event: how often it was recorded, and which of these are done.
  std::atomic<uint64_t> recorded;
  std::atomic<uint64_t> done;
  std::atomic<uint64_t> recorder;  // The process of the last record.
};

class FakeGpuFile {
 public:
  // For an exporter. RESOURCE_EXHAUSTED no memory.
  static absl::StatusOr<std::shared_ptr<FakeGpuFile>> Create(int64_t bytes, bool shared);
  // For an importer. `ticket` is what another process says: every field is checked.
  // INVALID_ARGUMENT it was freed, its process has ended, or it never was.
  static absl::StatusOr<std::shared_ptr<FakeGpuFile>> Open(const FakeTicket& ticket);
  FakeGpuFile() = default;
  FakeGpuFile(const FakeGpuFile&) = delete;
  ~FakeGpuFile();

  FakeTicket ToTicket(uint64_t instance, bool is_event) const;
  bool Contains(const void* address) const;
  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }  // As asked for; more is mapped.
  bool shared() const { return shared_ && fd_.valid(); }
  FakeTrailer& trailer() const;

  // Notes who has it open. False when kMaxOpeners do.
  bool AddOpener(uint64_t process);
  std::optional<int64_t> LivingOpener() const;  // The process id of one.
  // Of an event: whether its `record`-th record is done.
  bool IsDone(uint64_t record) const;

 private:
  bool Map(int fd, int64_t bytes);

  UniqueFd fd_;  // The exporter's; importers need none.
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  uint64_t nonce_ = 0;
  std::atomic<uint64_t>* opener_ = nullptr;  // This importer's entry.
  bool shared_ = true;
};

uint64_t FakeRandomWord();                         // Not 0.
absl::Status FakeInvalid(absl::string_view what);  // INVALID_ARGUMENT.

}  // namespace retort::gpu
