// A mapping of a memory segment that the FdBroker made: shared between the processes of one host,
// zero-filled when new, of a size that nobody can change (sealed), so that no access inside it can
// raise SIGBUS.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/unique_fd.h"

namespace retort::ring {

enum class Access { kReadOnly, kReadWrite };

// Owns the mapping, not the memory: that lives while the broker keeps the name or anyone maps it.
// Moving keeps the address. Thread-compatible.
class Segment {
 public:
  // Maps `bytes` bytes of `fd`, huge pages where that helps. `name` is for messages.
  // Errors: INVALID_ARGUMENT size is not `bytes`; FAILED_PRECONDITION the size is not sealed;
  // RESOURCE_EXHAUSTED no address space.
  static absl::StatusOr<Segment> Map(UniqueFd fd, int64_t bytes, Access access,
                                     absl::string_view name);

  Segment() = default;
  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&& other) noexcept;
  ~Segment();

  std::byte* data() const { return data_; }  // Page-aligned; 2 MiB-aligned from 2 MiB on.
  int64_t bytes() const { return bytes_; }

 private:
  Segment(std::byte* data, int64_t bytes) : data_(data), bytes_(bytes) {}

  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

// The segment's memory as a shared handle: unmapped when the last copy goes. What collective/ takes
// as memory.
std::shared_ptr<std::byte> ShareMemory(Segment segment);

}  // namespace retort::ring
