// NCCL without a GPU, for tests of what is built on gpu::NcclApi: ranks are threads of one program,
// each with a FakeGpu and a FakeNccl of its own over one network. Sums are real, over the fake
// device memory, in rank order.
//
//   order   an operation begins on a rank when the rank's stream has come to it, runs when it has
//   begun on all of them, and the stream goes on after it. Like NCCL's own, a call has put nothing
//   into the stream before Poll has said so.
//   peers   a rank that aborts leaves its peers inside the operation for ever: they must time out.
//   checks  ranks that call different operations hang, as NCCL's may; misuses() tells it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/gpu/nccl_api.h"
#include "testing/fake_gpu.h"

namespace retort::gpu {

// A FakeGpu whose device LibTorch takes for the CPU: tensors over its memory are tensors of the
// CPU.
class CpuTorchGpu : public FakeGpu {
 public:
  using FakeGpu::FakeGpu;
  std::string torch_device_type() const override { return "cpu"; }
};

// Thread-safe. Outlives the FakeNccls over it.
class FakeNcclNetwork {
 public:
  // Operation `number` of every communicator (from 1) never ends; also of those that are there.
  void HangOperation(int64_t number);
  void HangNothing();
  // From now on ranks that call different operations do not hang: nobody gets anything.
  void EndMismatches();

  int64_t ended_operations() const;  // Each once, not once a rank.
  // What NCCL leaves undefined, in words. A test expects it to be empty.
  std::vector<std::string> misuses() const;

 private:
  friend class FakeNccl;
  struct Group;
  struct Comm;
  struct Part;  // One rank's part of an operation.

  void Advance(Group& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Put(Comm& comm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool RunOperation(Group& group, int64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(Comm& comm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Note(std::string misuse) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    misuses_.push_back(std::move(misuse));
  }

  mutable Mutex mutex_;
  int64_t ids_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t ended_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, std::shared_ptr<Group>> groups_ ABSL_GUARDED_BY(mutex_);
  bool mismatches_end_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<int64_t> hanging_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> misuses_ ABSL_GUARDED_BY(mutex_);
};

// One process's NCCL. Thread-safe as NcclApi says, and tells who breaks that.
class FakeNccl : public NcclApi {
 public:
  FakeNccl(FakeNcclNetwork* network, FakeGpu* gpu) : network_(*network), gpu_(*gpu) {}
  ~FakeNccl() override;

  // The call of operation `number` (from 1) of every communicator returns `error`.
  void RefuseAt(int64_t number, absl::Status error);
  // Poll returns `error` once operation `number` has been called.
  void ReportAt(int64_t number, absl::Status error);
  // Abort (or Destroy) does not return before ReleaseEnds.
  void HangEnds();
  void ReleaseEnds();
  int64_t aborted() const { return aborted_; }
  int64_t destroyed() const { return destroyed_; }

  std::string version() const override { return "0.0.fake"; }
  absl::StatusOr<NcclId> MakeId() override;
  absl::StatusOr<NcclComm> Init(const NcclId& id, int rank, int world_size) override;
  absl::StatusOr<bool> Poll(NcclComm comm) override;
  absl::Status GroupStart() override { return absl::OkStatus(); }
  absl::Status GroupEnd() override { return absl::OkStatus(); }
  absl::Status AllReduceSum(const void* send, void* receive, int64_t count, NcclType type,
                            NcclComm comm, Stream stream) override;
  absl::Status AllGather(const void* send, void* receive, int64_t count, NcclType type,
                         NcclComm comm, Stream stream) override;
  absl::Status Broadcast(void* buffer, int64_t count, NcclType type, int root, NcclComm comm,
                         Stream stream) override;
  absl::Status Abort(NcclComm comm) override;
  absl::Status Destroy(NcclComm comm) override;

 private:
  using Part = FakeNcclNetwork::Part;
  using Comm = FakeNcclNetwork::Comm;

  absl::Status Call(NcclComm comm, Part part);
  absl::StatusOr<std::shared_ptr<Comm>> Find(NcclComm comm)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(network_.mutex_);
  void AwaitRelease();

  FakeNcclNetwork& network_;
  FakeGpu& gpu_;
  std::map<int64_t, absl::Status> refusals_ ABSL_GUARDED_BY(network_.mutex_);
  std::map<int64_t, absl::Status> reports_ ABSL_GUARDED_BY(network_.mutex_);
  std::map<NcclComm, std::shared_ptr<Comm>> comms_ ABSL_GUARDED_BY(network_.mutex_);
  CondVar released_;
  bool ends_hang_ ABSL_GUARDED_BY(network_.mutex_) = false;
  std::atomic<int64_t> aborted_{0}, destroyed_{0};
};

}  // namespace retort::gpu
