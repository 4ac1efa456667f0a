// The calls of NCCL that Retort makes, as gpu_api.h does for the run-time. Communicators are
// non-blocking: a call may return before it has taken effect, and Poll says when it has.
//
// Errors: INVALID_ARGUMENT NCCL refused the arguments, the communicator is whole; INTERNAL anything
// else, with NCCL's text: abort the communicator and form a new one.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/gpu/gpu_api.h"

namespace retort::gpu {

using NcclComm = void*;

// What the ranks of one communicator find each other by: made by one, carried to the others.
struct NcclId {
  std::array<char, 128> bytes{};
  bool operator==(const NcclId&) const = default;
};

enum class NcclType { kByte, kInt64, kBFloat16, kFloat32, kFloat64 };

// Calls on one communicator come from one thread at a time, but for Abort.
class NcclApi {
 public:
  virtual ~NcclApi() = default;

  virtual std::string version() const = 0;  // "2.28.9"
  virtual absl::StatusOr<NcclId> MakeId() = 0;

  // Begins to form the communicator; Poll is true when every rank is there.
  virtual absl::StatusOr<NcclComm> Init(const NcclId& id, int rank, int world_size) = 0;
  // True: nothing is under way. The error of an operation that has failed since.
  virtual absl::StatusOr<bool> Poll(NcclComm comm) = 0;

  // Calls between the two start together.
  virtual absl::Status GroupStart() = 0;
  virtual absl::Status GroupEnd() = 0;

  // Put an operation into the stream. `count` is in elements.
  virtual absl::Status AllReduceSum(const void* send, void* receive, int64_t count, NcclType type,
                                    NcclComm comm, Stream stream) = 0;
  virtual absl::Status AllGather(const void* send, void* receive, int64_t count, NcclType type,
                                 NcclComm comm, Stream stream) = 0;
  virtual absl::Status Broadcast(void* buffer, int64_t count, NcclType type, int root,
                                 NcclComm comm, Stream stream) = 0;

  // Ends what is under way on this rank and frees the communicator. May hang inside NCCL.
  virtual absl::Status Abort(NcclComm comm) = 0;
  // Frees a communicator on which nothing is under way.
  virtual absl::Status Destroy(NcclComm comm) = 0;
};

}  // namespace retort::gpu
