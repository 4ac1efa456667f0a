// How tensors of the host reach a communicator between GPUs, and how its ranks agree on what they
// do. Internal to collective/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/nccl_communicator.h"

namespace retort::collective {

// Two pieces of memory of one size, kept for the life of a group: pinned memory of the host, and
// memory of the GPU. For a gather both hold
//   own part | part of rank 0 | part of rank 1 | ...
class NcclStaging {
 public:
  static absl::StatusOr<NcclStaging> Allocate(gpu::Api* api, int world_size);

  std::byte* host() const { return host_->data(); }
  std::byte* device() const { return device_->data(); }
  int64_t bytes() const { return host_->bytes(); }
  int64_t bytes_per_rank() const { return bytes_per_rank_; }  // Of a gather.
  // Where part `rank` of a gather of `bytes` for each rank is.
  std::byte* host_of_rank(int rank, int64_t bytes) const { return host() + (rank + 1) * bytes; }

 private:
  std::shared_ptr<GpuMemory> host_, device_;
  int64_t bytes_per_rank_ = 0;
};

// Not thread-safe.
class NcclExchange {
 public:
  // Both outlive it.
  NcclExchange(NcclCommunicator* communicator, const NcclStaging* staging)
      : communicator_(*communicator), staging_(*staging) {}

  // The descriptor of the next operation, which counts from now on.
  Step Begin(Operation operation, ElementType type, int64_t count, int64_t place);

  // Waits until every rank is in `step`; each brings `bytes` (<= kInlineBytes) of payload.
  // FAILED_PRECONDITION, and the group is broken, if a rank is in another operation or has done
  // others before.
  absl::Status Agree(const Step& step, const void* payload = nullptr, int64_t bytes = 0);
  const std::byte* PayloadOf(int rank) const;  // Of the last Agree; 8-byte aligned.

  // Gathers `bytes` from the start of every rank's staging into the parts behind.
  absl::Status GatherStaged(const Step& step, int64_t bytes);

 private:
  NcclCommunicator& communicator_;
  const NcclStaging& staging_;
  uint64_t operations_ = 0;
  uint64_t history_ = 0;  // A digest of all descriptors so far.
};

}  // namespace retort::collective
