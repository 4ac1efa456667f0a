#include "common/collective/staged_collective.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/collective/gpu_memory.h"

namespace retort::collective {

// At namespace level: Collective names it as a friend.
class StagedCollective final : public Collective {
 public:
  static absl::StatusOr<std::unique_ptr<Collective>> Over(std::unique_ptr<Collective> inner,
                                                          gpu::Api* api, int device,
                                                          const CollectiveOptions& options);

  int rank() const override { return inner_->rank(); }
  int world_size() const override { return inner_->world_size(); }
  absl::Status Barrier() override { return inner_->Barrier(); }
  void Abort(absl::string_view reason) override { inner_->Abort(reason); }
  absl::StatusOr<at::Tensor> AllocateBuffer(int64_t elements) override;

 protected:
  bool OnDevice(const at::Tensor& tensor) const override { return buffers_.Hold(tensor); }
  absl::Status ReduceInPlace(void* data, int64_t count, ElementType type, Memory memory) override;
  absl::Status Gather(const void* in, int64_t bytes, void* out, Memory memory) override;
  absl::Status BroadcastBytes(void* data, int64_t bytes, int root, Memory memory) override;

 private:
  struct Transfer {
    void* to;
    const void* from;
    int64_t bytes;
  };

  StagedCollective(std::unique_ptr<Collective> inner, gpu::Api* api, DeviceBuffers buffers,
                   const CollectiveOptions& options)
      : inner_(std::move(inner)), api_(api), options_(options), buffers_(std::move(buffers)) {}
  // In the order of the caller's compute stream, and done when it returns.
  absl::Status Copy(const std::vector<Transfer>& transfers);
  absl::Status TryCopy(const std::vector<Transfer>& transfers);

  const std::unique_ptr<Collective> inner_;
  gpu::Api* const api_;
  const CollectiveOptions options_;
  DeviceBuffers buffers_;
  std::shared_ptr<GpuMemory> host_;
  int64_t bytes_per_rank_ = 0;  // Of a gather: host_ holds the own part and all parts.
  GpuEvent copied_;
};

namespace {

constexpr int64_t kStageBytes = int64_t{16} << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> StagedCollective::Over(
    std::unique_ptr<Collective> inner, gpu::Api* api, int device,
    const CollectiveOptions& options) {
  RETORT_RETURN_IF_ERROR(api->SetDevice(device));
  RETORT_ASSIGN_OR_RETURN(DeviceBuffers buffers, DeviceBuffers::On(api, device));
  const int parts = inner->world_size() + 1;
  std::unique_ptr<StagedCollective> staged(
      new StagedCollective(std::move(inner), api, std::move(buffers), options));
  staged->bytes_per_rank_ = std::max<int64_t>(64, kStageBytes / parts / 64 * 64);
  RETORT_ASSIGN_OR_RETURN(staged->host_, GpuMemory::Allocate(api, GpuMemory::Kind::kPinned,
                                                             staged->bytes_per_rank_ * parts));
  RETORT_ASSIGN_OR_RETURN(staged->copied_, NewEvent(api));
  return staged;
}

absl::Status StagedCollective::TryCopy(const std::vector<Transfer>& transfers) {
  const gpu::Stream stream = api_->CurrentStream();
  for (const Transfer& t : transfers) {
    RETORT_RETURN_IF_ERROR(api_->Copy(t.to, t.from, t.bytes, stream));
  }
  RETORT_RETURN_IF_ERROR(api_->Record(copied_.get(), stream));
  return WaitForEvent(api_, copied_.get(), options_.deadline, options_.spin);
}

absl::Status StagedCollective::Copy(const std::vector<Transfer>& transfers) {
  const absl::Status copied = TryCopy(transfers);
  if (copied.ok()) return copied;
  // What the run-time calls an invalid argument is none of the caller's.
  const absl::Status failure =
      WithContext(absl::IsInvalidArgument(copied) ? absl::InternalError(copied.message()) : copied,
                  absl::StrCat("rank ", rank(), ": copying a tensor between GPU and host"));
  inner_->Abort(failure.message());
  return failure;
}

absl::StatusOr<at::Tensor> StagedCollective::AllocateBuffer(int64_t elements) {
  if (elements < 0) {
    return absl::InvalidArgumentError(absl::StrCat("allocate_buffer: ", elements, " elements"));
  }
  std::vector<int64_t> sizes(world_size());
  RETORT_RETURN_IF_ERROR(inner_->Gather(&elements, sizeof(elements), sizes.data(), Memory::kHost));
  for (int peer = 0; peer < world_size(); ++peer) {
    if (sizes[peer] == elements) continue;
    const std::string text = absl::StrCat("allocate_buffer: rank ", rank(), " asks for ", elements,
                                          " elements, rank ", peer, " for ", sizes[peer]);
    inner_->Abort(text);
    return absl::FailedPreconditionError(text);
  }
  absl::StatusOr<at::Tensor> buffer = buffers_.Allocate(elements, api_->CurrentStream());
  if (!buffer.ok()) inner_->Abort(buffer.status().message());
  return buffer;
}

absl::Status StagedCollective::ReduceInPlace(void* data, int64_t count, ElementType type,
                                             Memory memory) {
  if (memory == Memory::kHost) return inner_->ReduceInPlace(data, count, type, memory);
  if (count == 0 || world_size() == 1) return inner_->Barrier();
  const int64_t element = ElementBytes(type);
  const int64_t chunk = host_->bytes() / element;
  auto* const device = static_cast<std::byte*>(data);
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t n = std::min(chunk, count - first);
    std::byte* const part = device + first * element;
    RETORT_RETURN_IF_ERROR(Copy({{host_->data(), part, n * element}}));
    RETORT_RETURN_IF_ERROR(inner_->ReduceInPlace(host_->data(), n, type, Memory::kHost));
    RETORT_RETURN_IF_ERROR(Copy({{part, host_->data(), n * element}}));
  }
  return absl::OkStatus();
}

absl::Status StagedCollective::Gather(const void* in, int64_t bytes, void* out, Memory memory) {
  if (memory == Memory::kHost) return inner_->Gather(in, bytes, out, memory);
  if (bytes == 0) return inner_->Barrier();
  std::byte* const all = host_->data() + bytes_per_rank_;
  for (int64_t first = 0; first < bytes; first += bytes_per_rank_) {
    const int64_t n = std::min(bytes_per_rank_, bytes - first);
    RETORT_RETURN_IF_ERROR(Copy({{host_->data(), static_cast<const std::byte*>(in) + first, n}}));
    RETORT_RETURN_IF_ERROR(inner_->Gather(host_->data(), n, all, Memory::kHost));
    std::vector<Transfer> parts;
    for (int r = 0; r < world_size(); ++r) {
      parts.push_back({static_cast<std::byte*>(out) + r * bytes + first, all + r * n, n});
    }
    RETORT_RETURN_IF_ERROR(Copy(parts));
  }
  return absl::OkStatus();
}

absl::Status StagedCollective::BroadcastBytes(void* data, int64_t bytes, int root, Memory memory) {
  if (memory == Memory::kHost) return inner_->BroadcastBytes(data, bytes, root, memory);
  if (bytes == 0) return inner_->Barrier();
  for (int64_t first = 0; first < bytes; first += host_->bytes()) {
    const int64_t n = std::min(host_->bytes(), bytes - first);
    std::byte* const part = static_cast<std::byte*>(data) + first;
    if (rank() == root) RETORT_RETURN_IF_ERROR(Copy({{host_->data(), part, n}}));
    RETORT_RETURN_IF_ERROR(inner_->BroadcastBytes(host_->data(), n, root, Memory::kHost));
    if (rank() != root) RETORT_RETURN_IF_ERROR(Copy({{part, host_->data(), n}}));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Collective>> StageThroughHost(std::unique_ptr<Collective> inner,
                                                             gpu::Api* api, int device,
                                                             const CollectiveOptions& options) {
  return StagedCollective::Over(std::move(inner), api, device, options);
}

}  // namespace retort::collective
