#include "common/cuda/nccl_runtime.h"

#include <nccl.h>

#include <cstring>

#include "absl/strings/str_cat.h"

namespace retort::gpu {
namespace {

static_assert(sizeof(ncclUniqueId) == sizeof(NcclId::bytes));

// Non-blocking communicators answer ncclInProgress for what they have only begun.
absl::Status Status(ncclResult_t result, absl::string_view call, ncclComm_t comm = nullptr) {
  if (result == ncclSuccess || result == ncclInProgress) return absl::OkStatus();
  const char* const detail = ncclGetLastError(comm);
  const std::string text =
      absl::StrCat(call, ": ", ncclGetErrorString(result), detail == nullptr ? "" : ": ",
                   detail == nullptr ? "" : detail);
  return result == ncclInvalidArgument ? absl::InvalidArgumentError(text)
                                       : absl::InternalError(text);
}

ncclDataType_t TypeOf(NcclType type) {
  switch (type) {
    case NcclType::kByte:
      return ncclUint8;
    case NcclType::kInt64:
      return ncclInt64;
    case NcclType::kBFloat16:
      return ncclBfloat16;
    case NcclType::kFloat32:
      return ncclFloat32;
    case NcclType::kFloat64:
      return ncclFloat64;
  }
  return ncclUint8;
}

ncclComm_t Comm(NcclComm comm) { return static_cast<ncclComm_t>(comm); }
cudaStream_t CudaStream(Stream stream) { return static_cast<cudaStream_t>(stream); }

class Runtime final : public NcclApi {
 public:
  std::string version() const override {
    int version = 0;
    if (ncclGetVersion(&version) != ncclSuccess) return "unknown";
    return absl::StrCat(version / 10000, ".", version / 100 % 100, ".", version % 100);
  }

  absl::StatusOr<NcclId> MakeId() override {
    ncclUniqueId id;
    if (absl::Status made = Status(ncclGetUniqueId(&id), "ncclGetUniqueId"); !made.ok()) {
      return made;
    }
    NcclId bytes;
    std::memcpy(bytes.bytes.data(), id.internal, sizeof(id));
    return bytes;
  }

  absl::StatusOr<NcclComm> Init(const NcclId& id, int rank, int world_size) override {
    ncclUniqueId unique;
    std::memcpy(unique.internal, id.bytes.data(), sizeof(unique));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comm = nullptr;
    const ncclResult_t result = ncclCommInitRankConfig(&comm, world_size, unique, rank, &config);
    if (absl::Status begun = Status(result, "ncclCommInitRankConfig", comm); !begun.ok()) {
      return begun;
    }
    return static_cast<NcclComm>(comm);
  }

  absl::StatusOr<bool> Poll(NcclComm comm) override {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t result = ncclCommGetAsyncError(Comm(comm), &state);
    if (absl::Status asked = Status(result, "ncclCommGetAsyncError", Comm(comm)); !asked.ok()) {
      return asked;
    }
    if (absl::Status status = Status(state, "NCCL", Comm(comm)); !status.ok()) return status;
    return state == ncclSuccess;
  }

  absl::Status GroupStart() override { return Status(ncclGroupStart(), "ncclGroupStart"); }
  absl::Status GroupEnd() override { return Status(ncclGroupEnd(), "ncclGroupEnd"); }

  absl::Status AllReduceSum(const void* send, void* receive, int64_t count, NcclType type,
                            NcclComm comm, Stream stream) override {
    return Status(ncclAllReduce(send, receive, static_cast<size_t>(count), TypeOf(type), ncclSum,
                                Comm(comm), CudaStream(stream)),
                  "ncclAllReduce", Comm(comm));
  }

  absl::Status AllGather(const void* send, void* receive, int64_t count, NcclType type,
                         NcclComm comm, Stream stream) override {
    return Status(ncclAllGather(send, receive, static_cast<size_t>(count), TypeOf(type), Comm(comm),
                                CudaStream(stream)),
                  "ncclAllGather", Comm(comm));
  }

  absl::Status Broadcast(void* buffer, int64_t count, NcclType type, int root, NcclComm comm,
                         Stream stream) override {
    return Status(ncclBroadcast(buffer, buffer, static_cast<size_t>(count), TypeOf(type), root,
                                Comm(comm), CudaStream(stream)),
                  "ncclBroadcast", Comm(comm));
  }

  // The communicator is gone, so no text of its own can be asked for.
  absl::Status Abort(NcclComm comm) override {
    return Status(ncclCommAbort(Comm(comm)), "ncclCommAbort");
  }
  absl::Status Destroy(NcclComm comm) override {
    return Status(ncclCommDestroy(Comm(comm)), "ncclCommDestroy");
  }
};

}  // namespace

NcclApi& NcclRuntime() {
  static Runtime* const runtime = new Runtime;
  return *runtime;
}

}  // namespace retort::gpu
