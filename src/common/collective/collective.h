// Sums, gathers and broadcasts between the ranks of one group. Backends: `local` (threads), `shm`
// (processes of one host), `mpi` (Open MPI). They agree bit for bit: a sum is x0 + x1 + ... +
// x(world-1) in rank order. `nccl` (GPUs) repeats its own bits: nccl_collective.h.
//
// Rules for callers
//   - All ranks make the same calls in the same order with the same shapes and dtypes, from one
//     thread at a time. `Abort` alone may come from any thread at any time.
//   - Tensors are contiguous; fp32, fp64 or int64; on the CPU, or on the device whose buffers the
//     backend allocates, on every rank alike. Results are where the tensor is. A tensor may be
//     empty and is then still a call.
//   - Every call has a deadline (CollectiveOptions). It covers waiting for peers that have not
//     arrived.
//   - After an error the contents of the tensor are unspecified and the group is broken: each
//     further call on any rank returns the first error. Form a group of a new generation.
//
// Errors of every operation
//   UNAVAILABLE          a rank died or left; names the rank, the operation and its number (shm)
//   DEADLINE_EXCEEDED    a rank did not arrive in time; names it (nccl: the operation alone)
//   ABORTED              a rank called Abort; carries its reason
//   INVALID_ARGUMENT     the tensor breaks the rules above. The one error that leaves the group whole
//   FAILED_PRECONDITION  the ranks made different calls; names both
//   INTERNAL             the transport's own error, with its text (mpi, nccl)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/tensor/aten.h"

namespace retort::collective {

struct CollectiveOptions {
  // Longest wait for a peer within one operation. Ranks compute between operations, so it must
  // exceed the longest difference of their micro-batches; the driver's own hang detection comes
  // first.
  absl::Duration deadline = absl::Minutes(5);
  // Longest wait for the others when the group forms: they may still be starting.
  absl::Duration join_deadline = absl::Minutes(5);
  // How long a wait spins before it sleeps: peers usually arrive within microseconds of each other,
  // and processes that share cores must not burn them.
  absl::Duration spin = absl::Microseconds(100);
};

enum class ElementType { kFloat32, kFloat64, kInt64, kByte };  // kByte: moved, never summed.
int64_t ElementBytes(ElementType type);

enum class Memory { kHost, kDevice };  // Where data lies that a backend gets.

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // In place; any shape. Copies nothing in if `tensor` is (a view of) a buffer from AllocateBuffer
  // on every rank.
  absl::Status AllReduceSum(const at::Tensor& tensor);

  // Begins AllReduceSum(tensor), which WaitAll ends: nobody may touch the tensor in between. A
  // backend that `overlaps` returns before the sum is made and makes it beside what the GPU
  // computes afterwards, reading what was computed before; any other makes it at once. Other
  // operations may come in between; they wait for the sums that were begun before them.
  absl::Status StartAllReduceSum(const at::Tensor& tensor);
  virtual absl::Status WaitAll() { return absl::OkStatus(); }
  virtual bool overlaps() const { return false; }

  // [d0, ...] of the same shape and dtype on every rank -> [world_size, d0, ...].
  absl::StatusOr<at::Tensor> AllGather(const at::Tensor& tensor);

  // [n, d1, ...] with n differing between ranks -> one tensor per rank, in rank order.
  absl::StatusOr<std::vector<at::Tensor>> AllGatherRows(const at::Tensor& tensor);

  // One byte string per rank, in rank order; lengths may differ, up to 1 GiB each.
  absl::StatusOr<std::vector<std::string>> AllGatherVariable(absl::string_view bytes);

  // In place: every rank ends with the contents that `root` had.
  absl::Status Broadcast(const at::Tensor& tensor, int root);

  // Returns after every rank has entered.
  virtual absl::Status Barrier() = 0;

  // A collective call. A zero-filled fp32 tensor of [elements], 64-byte aligned, in memory that the
  // other ranks reach, on the GPU if the backend is of GPUs: give it to gradients, so that
  // AllReduceSum need not copy them in. It may outlive the group.
  virtual absl::StatusOr<at::Tensor> AllocateBuffer(int64_t elements) = 0;

  // Breaks the group: peers that wait return ABORTED with `reason` (<= 256 bytes are kept).
  // Thread-safe. No effect on a group that is broken already.
  virtual void Abort(absl::string_view reason) = 0;

 protected:
  // Whether the tensor is where the backend reduces without the host; any other must be on the CPU.
  virtual bool OnDevice(const at::Tensor&) const { return false; }

  // The backend's part; arguments are valid. `out` of Gather holds world_size * bytes; `in` and
  // `out` are in one kind of memory. kDevice only comes where OnDevice says so.
  virtual absl::Status ReduceInPlace(void* data, int64_t count, ElementType type,
                                     Memory memory) = 0;
  virtual absl::Status Gather(const void* in, int64_t bytes, void* out, Memory memory) = 0;
  virtual absl::Status BroadcastBytes(void* data, int64_t bytes, int root, Memory memory) = 0;
  virtual absl::Status StartReduce(void* data, int64_t count, ElementType type, Memory memory) {
    return ReduceInPlace(data, count, type, memory);
  }

 private:
  friend class StagedCollective;  // Hands the calls on to another backend.

  // What AllReduceSum and the others need to know of a tensor that they may take.
  struct Checked {
    ElementType type;
    Memory memory;
  };
  absl::StatusOr<Checked> Check(const at::Tensor& tensor, absl::string_view operation) const;
  absl::StatusOr<std::vector<at::Tensor>> AllGatherRowsOfDevice(const at::Tensor& tensor);
};

}  // namespace retort::collective
