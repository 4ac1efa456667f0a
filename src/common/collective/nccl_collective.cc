#include "common/collective/nccl_collective.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/collective/nccl_communicator.h"
#include "common/collective/nccl_staging.h"
#include "common/collective/rank_sum.h"
#include "common/gpu/nccl_environment.h"

namespace retort::collective {
namespace {

constexpr int kMaxRanks = 4096;
constexpr int64_t kMaxBufferElements = int64_t{1} << 40;

gpu::NcclType TypeOf(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return gpu::NcclType::kFloat32;
    case ElementType::kFloat64:
      return gpu::NcclType::kFloat64;
    case ElementType::kInt64:
      return gpu::NcclType::kInt64;
    case ElementType::kByte:
      return gpu::NcclType::kByte;
  }
  return gpu::NcclType::kByte;
}

class NcclCollective final : public Collective {
 public:
  NcclCollective(std::unique_ptr<NcclCommunicator> communicator, NcclStaging staging,
                 DeviceBuffers buffers)
      : staging_(std::move(staging)),
        buffers_(std::move(buffers)),
        exchange_(communicator.get(), &staging_),
        communicator_(std::move(communicator)) {}

  // All ranks are there and expect the same world.
  absl::Status Join() {
    return exchange_.Agree(exchange_.Begin(Operation::kJoin, ElementType::kByte, world_size(), 0));
  }

  int rank() const override { return communicator_->rank(); }
  int world_size() const override { return communicator_->world_size(); }
  bool overlaps() const override { return true; }
  absl::Status WaitAll() override { return communicator_->Wait(); }
  absl::Status Barrier() override {
    return exchange_.Agree(exchange_.Begin(Operation::kBarrier, ElementType::kByte, 0, 0));
  }
  absl::StatusOr<at::Tensor> AllocateBuffer(int64_t elements) override;
  void Abort(absl::string_view reason) override {
    communicator_->Break(absl::AbortedError(
        absl::StrCat("rank ", rank(), " aborted the group: ", reason.substr(0, 256))));
  }

 protected:
  bool OnDevice(const at::Tensor& tensor) const override { return buffers_.Hold(tensor); }
  absl::Status ReduceInPlace(void* data, int64_t count, ElementType type, Memory memory) override;
  absl::Status StartReduce(void* data, int64_t count, ElementType type, Memory memory) override;
  absl::Status Gather(const void* in, int64_t bytes, void* out, Memory memory) override;
  absl::Status BroadcastBytes(void* data, int64_t bytes, int root, Memory memory) override;

 private:
  absl::Status LaunchSum(const Step& step, void* data, int64_t count);
  absl::Status ReduceThroughStage(const Step& step, void* data);
  absl::Status GatherThroughStage(const Step& step, const void* in, void* out);
  absl::Status BroadcastThroughStage(const Step& step, void* data);
  absl::Status FinishAndWait(const Step& step) {
    RETORT_RETURN_IF_ERROR(communicator_->Finish(step));
    return communicator_->Wait();
  }

  const NcclStaging staging_;
  DeviceBuffers buffers_;
  NcclExchange exchange_;
  const std::unique_ptr<NcclCommunicator> communicator_;  // Goes first: it ends what is under way.
};

absl::StatusOr<at::Tensor> NcclCollective::AllocateBuffer(int64_t elements) {
  if (elements < 0 || elements > kMaxBufferElements) {
    return absl::InvalidArgumentError(absl::StrCat("allocate_buffer: ", elements, " elements"));
  }
  Step step = exchange_.Begin(Operation::kAllocate, ElementType::kFloat32, elements, 0);
  RETORT_RETURN_IF_ERROR(exchange_.Agree(step));
  const absl::StatusOr<at::Tensor> buffer = buffers_.Allocate(elements, communicator_->stream());
  ++step.stage;
  // Everyone hears of a rank without memory: nobody goes on alone.
  const int64_t missing = buffer.ok() ? 0 : 1;
  RETORT_RETURN_IF_ERROR(exchange_.Agree(step, &missing, sizeof(missing)));
  if (!buffer.ok()) {
    return communicator_->Fail(WithContext(buffer.status(), communicator_->Name(step)));
  }
  for (int peer = 0; peer < world_size(); ++peer) {
    int64_t theirs = 0;
    std::memcpy(&theirs, exchange_.PayloadOf(peer), sizeof(theirs));
    if (theirs == 0) continue;
    return communicator_->Fail(absl::ResourceExhaustedError(
        absl::StrCat(communicator_->Name(step), ": rank ", peer, " has no memory for the buffer")));
  }
  return buffer;
}

absl::Status NcclCollective::LaunchSum(const Step& step, void* data, int64_t count) {
  return communicator_->Launch(
      step, [&](gpu::NcclApi& nccl, gpu::NcclComm comm, gpu::Stream stream) {
        return nccl.AllReduceSum(data, data, count, TypeOf(step.type), comm, stream);
      });
}

absl::Status NcclCollective::ReduceInPlace(void* data, int64_t count, ElementType type,
                                           Memory memory) {
  const Step step = exchange_.Begin(Operation::kAllReduce, type, count, 0);
  const int64_t bytes = count * ElementBytes(type);
  if (memory == Memory::kHost && bytes <= kInlineBytes) {
    RETORT_RETURN_IF_ERROR(exchange_.Agree(step, data, bytes));
    if (bytes == 0) return absl::OkStatus();
    std::vector<const void*> sources;
    for (int r = 0; r < world_size(); ++r) sources.push_back(exchange_.PayloadOf(r));
    void* const out[] = {data};
    SumInRankOrder(sources, count, type, out);
    return absl::OkStatus();
  }
  RETORT_RETURN_IF_ERROR(exchange_.Agree(step));
  RETORT_RETURN_IF_ERROR(Failpoint("collective.reduce"));
  if (memory == Memory::kHost) return ReduceThroughStage(step, data);
  if (bytes == 0) return absl::OkStatus();
  RETORT_RETURN_IF_ERROR(communicator_->FollowCompute(step));
  RETORT_RETURN_IF_ERROR(LaunchSum(step, data, count));
  return FinishAndWait(step);
}

absl::Status NcclCollective::StartReduce(void* data, int64_t count, ElementType type,
                                         Memory memory) {
  if (memory == Memory::kHost) return ReduceInPlace(data, count, type, memory);
  const Step step = exchange_.Begin(Operation::kAllReduce, type, count, 0);
  if (count == 0) return communicator_->Failure();
  RETORT_RETURN_IF_ERROR(communicator_->FollowCompute(step));
  RETORT_RETURN_IF_ERROR(LaunchSum(step, data, count));
  return communicator_->Finish(step);
}

absl::Status NcclCollective::ReduceThroughStage(const Step& step, void* data) {
  const int64_t element = ElementBytes(step.type);
  const int64_t chunk = staging_.bytes() / element;
  auto* const host = static_cast<std::byte*>(data);
  for (int64_t first = 0; first < step.count; first += chunk) {
    const int64_t n = std::min(chunk, step.count - first);
    std::memcpy(staging_.host(), host + first * element, n * element);
    RETORT_RETURN_IF_ERROR(
        communicator_->Copy(step, staging_.device(), staging_.host(), n * element));
    RETORT_RETURN_IF_ERROR(LaunchSum(step, staging_.device(), n));
    RETORT_RETURN_IF_ERROR(
        communicator_->Copy(step, staging_.host(), staging_.device(), n * element));
    RETORT_RETURN_IF_ERROR(FinishAndWait(step));
    std::memcpy(host + first * element, staging_.host(), n * element);
  }
  return absl::OkStatus();
}

absl::Status NcclCollective::Gather(const void* in, int64_t bytes, void* out, Memory memory) {
  const Step step = exchange_.Begin(Operation::kAllGather, ElementType::kByte, bytes, 0);
  if (memory == Memory::kHost && bytes <= kInlineBytes) {
    RETORT_RETURN_IF_ERROR(exchange_.Agree(step, in, bytes));
    for (int r = 0; r < world_size() && bytes > 0; ++r) {
      std::memcpy(static_cast<std::byte*>(out) + r * bytes, exchange_.PayloadOf(r), bytes);
    }
    return absl::OkStatus();
  }
  RETORT_RETURN_IF_ERROR(exchange_.Agree(step));
  if (memory == Memory::kHost) return GatherThroughStage(step, in, out);
  if (bytes == 0) return absl::OkStatus();
  RETORT_RETURN_IF_ERROR(communicator_->FollowCompute(step));
  RETORT_RETURN_IF_ERROR(
      communicator_->Launch(step, [&](gpu::NcclApi& nccl, gpu::NcclComm comm, gpu::Stream stream) {
        return nccl.AllGather(in, out, bytes, gpu::NcclType::kByte, comm, stream);
      }));
  return FinishAndWait(step);
}

absl::Status NcclCollective::GatherThroughStage(const Step& step, const void* in, void* out) {
  const int64_t chunk = staging_.bytes_per_rank();
  for (int64_t first = 0; first < step.count; first += chunk) {
    const int64_t n = std::min(chunk, step.count - first);
    std::memcpy(staging_.host(), static_cast<const std::byte*>(in) + first, n);
    RETORT_RETURN_IF_ERROR(exchange_.GatherStaged(step, n));
    for (int r = 0; r < world_size(); ++r) {
      std::memcpy(static_cast<std::byte*>(out) + r * step.count + first,
                  staging_.host_of_rank(r, n), n);
    }
  }
  return absl::OkStatus();
}

absl::Status NcclCollective::BroadcastBytes(void* data, int64_t bytes, int root, Memory memory) {
  const Step step = exchange_.Begin(Operation::kBroadcast, ElementType::kByte, bytes, root);
  if (memory == Memory::kHost && bytes <= kInlineBytes) {
    RETORT_RETURN_IF_ERROR(exchange_.Agree(step, data, bytes));
    if (bytes > 0) std::memcpy(data, exchange_.PayloadOf(root), bytes);
    return absl::OkStatus();
  }
  RETORT_RETURN_IF_ERROR(exchange_.Agree(step));
  if (memory == Memory::kHost) return BroadcastThroughStage(step, data);
  if (bytes == 0) return absl::OkStatus();
  RETORT_RETURN_IF_ERROR(communicator_->FollowCompute(step));
  RETORT_RETURN_IF_ERROR(
      communicator_->Launch(step, [&](gpu::NcclApi& nccl, gpu::NcclComm comm, gpu::Stream stream) {
        return nccl.Broadcast(data, bytes, gpu::NcclType::kByte, root, comm, stream);
      }));
  return FinishAndWait(step);
}

absl::Status NcclCollective::BroadcastThroughStage(const Step& step, void* data) {
  const int root = static_cast<int>(step.place);
  auto* const host = static_cast<std::byte*>(data);
  for (int64_t first = 0; first < step.count; first += staging_.bytes()) {
    const int64_t n = std::min(staging_.bytes(), step.count - first);
    if (rank() == root) {
      std::memcpy(staging_.host(), host + first, n);
      RETORT_RETURN_IF_ERROR(communicator_->Copy(step, staging_.device(), staging_.host(), n));
    }
    RETORT_RETURN_IF_ERROR(communicator_->Launch(
        step, [&](gpu::NcclApi& nccl, gpu::NcclComm comm, gpu::Stream stream) {
          return nccl.Broadcast(staging_.device(), n, gpu::NcclType::kByte, root, comm, stream);
        }));
    if (rank() != root) {
      RETORT_RETURN_IF_ERROR(communicator_->Copy(step, staging_.host(), staging_.device(), n));
    }
    RETORT_RETURN_IF_ERROR(FinishAndWait(step));
    if (rank() != root) std::memcpy(host + first, staging_.host(), n);
  }
  return absl::OkStatus();
}

absl::Status CheckGroup(const NcclGroup& group) {
  if (group.gpu.api == nullptr || group.gpu.nccl == nullptr || group.end_process == nullptr) {
    return absl::InvalidArgumentError("an NCCL group needs a GPU plug-in and end_process");
  }
  if (group.world_size >= 1 && group.world_size <= kMaxRanks && group.rank >= 0 &&
      group.rank < group.world_size) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("NCCL group: rank ", group.rank, " of ",
                                                 group.world_size, " ranks; expected 1 to ",
                                                 kMaxRanks, " ranks"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> MakeNcclCollective(const NcclGroup& group) {
  RETORT_RETURN_IF_ERROR(CheckGroup(group));
  RETORT_ASSIGN_OR_RETURN(DeviceBuffers buffers, DeviceBuffers::On(group.gpu.api, group.device));
  RETORT_ASSIGN_OR_RETURN(std::unique_ptr<NcclCommunicator> communicator,
                          NcclCommunicator::Join(group));
  RETORT_ASSIGN_OR_RETURN(NcclStaging staging,
                          NcclStaging::Allocate(group.gpu.api, group.world_size));
  auto collective = std::make_unique<NcclCollective>(std::move(communicator), std::move(staging),
                                                     std::move(buffers));
  RETORT_RETURN_IF_ERROR(collective->Join());
  LogInfo("nccl group joined rank={} world_size={} device={} version={} {}", group.rank,
          group.world_size, group.device, group.gpu.nccl->version(), gpu::NcclEnvironmentText());
  return collective;
}

}  // namespace retort::collective
