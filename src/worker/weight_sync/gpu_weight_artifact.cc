// Serves the policy versions of a weight ring on a GPU: weight_artifact.h.
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/ring/device_weight_reader.h"
#include "common/tensor/torch_process.h"
#include "worker/weight_sync/weight_artifact.h"
#include "worker/weight_sync/weight_segment.h"

namespace retort::worker {
namespace {

// The weights and the canary as they are sent.
using Bytes = std::vector<char>;

// Thread-safe: the lookups of many fetches.
class GpuWeightSource {
 public:
  GpuWeightSource(ring::DeviceWeightReader reader, const ring::WeightRingShape& shape,
                  const tensor::GpuDevice& gpu)
      : reader_(std::move(reader)), shape_(shape), gpu_(gpu) {}

  absl::StatusOr<std::shared_ptr<const Bytes>> Find(const ring::AcquireRequest& request) {
    MutexLock lock(&mutex_);
    const bool held = last_ != nullptr && version_ == request.version &&
                      digest_ == request.digest && epoch_ >= request.min_epoch;
    if (!held) RETORT_RETURN_IF_ERROR(Copy(request));
    return last_;
  }

 private:
  absl::Status Copy(const ring::AcquireRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  ring::DeviceWeightReader reader_ ABSL_GUARDED_BY(mutex_);
  const ring::WeightRingShape shape_;
  const tensor::GpuDevice& gpu_;
  std::shared_ptr<const Bytes> last_ ABSL_GUARDED_BY(mutex_);
  int64_t version_ ABSL_GUARDED_BY(mutex_) = -1;
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  Digest digest_ ABSL_GUARDED_BY(mutex_);
};

absl::Status GpuWeightSource::Copy(const ring::AcquireRequest& request) {
  RETORT_RETURN_IF_ERROR(gpu_.plugin.api->SetDevice(gpu_.info.index));
  RETORT_ASSIGN_OR_RETURN(ring::DeviceWeights weights,
                          reader_.Acquire(request, gpu_.plugin.api->CurrentStream()));
  auto bytes = std::make_shared<Bytes>();
  RETORT_RETURN_IF_ERROR(tensor::CatchTorch([&] {
    const at::Tensor host = SlotTensor(weights.data, shape_, gpu_.device).cpu().to(at::kFloat);
    bytes->resize(host.nbytes() + weights.canary.size() * sizeof(float));
    std::memcpy(bytes->data(), host.const_data_ptr(), host.nbytes());
    std::memcpy(bytes->data() + host.nbytes(), weights.canary.data(),
                weights.canary.size() * sizeof(float));
  }));
  if (!weights.StillHolds()) {
    return absl::AbortedError(absl::StrCat("policy version ", request.version,
                                           " was overwritten on the GPU while it was copied"));
  }
  last_ = std::move(bytes);
  version_ = weights.version;
  epoch_ = weights.epoch;
  digest_ = weights.digest;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<rpc::ArtifactLookup> ServeGpuWeights(ring::Segment segment,
                                                    const ring::WeightRingShape& shape,
                                                    const tensor::GpuDevice& gpu,
                                                    absl::Duration timeout) {
  RETORT_ASSIGN_OR_RETURN(
      ring::DeviceWeightReader reader,
      ring::DeviceWeightReader::Open(std::move(segment), gpu.plugin.api, gpu.info.index, timeout));
  const auto source = std::make_shared<GpuWeightSource>(std::move(reader), shape, gpu);
  return [source](const std::string& id) -> absl::StatusOr<rpc::ServedArtifact> {
    RETORT_ASSIGN_OR_RETURN(const ring::AcquireRequest request, ParseWeightArtifactId(id));
    const absl::StatusOr<std::shared_ptr<const Bytes>> found = source->Find(request);
    if (absl::IsDeadlineExceeded(found.status())) {
      return absl::NotFoundError(found.status().message());
    }
    RETORT_RETURN_IF_ERROR(found.status());
    const std::shared_ptr<const Bytes> bytes = *found;
    rpc::ServedArtifact artifact;
    artifact.bytes = static_cast<int64_t>(bytes->size());
    artifact.read = [bytes](int64_t offset, absl::Span<char> out) {
      std::copy_n(bytes->data() + offset, out.size(), out.data());
      return absl::OkStatus();
    };
    return artifact;
  };
}

}  // namespace retort::worker
