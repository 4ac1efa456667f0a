#include "common/ring/weight_ring.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/ring/weight_label.h"

namespace retort::ring {
namespace {

constexpr int64_t kFloatBytes = sizeof(float);
constexpr int64_t kMaxSlotElements = kMaxSlotBytes / kFloatBytes;

// How long a writer waits for one of an older epoch that still lives in the slot: its launcher is
// about to end it.
constexpr absl::Duration kOlderWriterWait = absl::Seconds(10);

// Whoever still reads a version that no uncommitted step needs works in vain: its lease is revoked
// at once.
constexpr absl::Duration kLeaseWait = absl::ZeroDuration();

// Observers need no entry of the consumer table.
TensorRingShape ToTensorRing(const WeightRingShape& shape) {
  const bool host = shape.transport == TransportKind::kHost;
  return {.slots = shape.slots,
          .slot_bytes = shape.slot_elements * DtypeBytes(shape.dtype),
          .max_consumers = host ? 0 : kMaxRingConsumers,
          .transport = shape.transport};
}

bool IsValid(const WeightRingShape& shape) {
  const bool type = shape.dtype == Dtype::kFloat32 ||
                    (shape.dtype == Dtype::kBFloat16 && shape.transport != TransportKind::kHost);
  return type && shape.slots >= 2 && shape.slot_elements >= 1 &&
         shape.slot_elements <= kMaxSlotElements && CheckTensorRingShape(ToTensorRing(shape)).ok();
}

}  // namespace

int64_t WeightRingBytes(const WeightRingShape& shape) {
  RETORT_CHECK(IsValid(shape)) << "weight ring of " << shape.slots << " slots of "
                               << shape.slot_elements << " elements";
  return TensorRingBytes(ToTensorRing(shape));
}

absl::StatusOr<WeightRingWriter> WeightRingWriter::Open(
    Segment segment, const WeightRingShape& shape, uint64_t epoch,
    std::unique_ptr<ProducerTransport> transport) {
  if (transport == nullptr) transport = HostProducerTransport();
  if (!IsValid(shape)) {
    return absl::InvalidArgumentError(absl::StrCat("weight ring of ", shape.slots, " slots of ",
                                                   shape.slot_elements, " elements; expected 2 to ",
                                                   kMaxRingSlots, " slots of at least 1"));
  }
  ProducerOptions options;
  options.epoch = epoch;
  options.when_busy = BusyPolicy::kRevoke;
  absl::StatusOr<std::unique_ptr<TensorRingProducer>> ring = TensorRingProducer::Open(
      std::move(segment), ToTensorRing(shape), options, std::move(transport));
  if (!ring.ok()) return WithContext(ring.status(), "weight ring");
  return WeightRingWriter(*std::move(ring), shape);
}

absl::StatusOr<absl::Span<float>> WeightRingWriter::Begin(int64_t version) {
  RETORT_CHECK(shape_.transport == TransportKind::kHost) << "the ring is not in host memory";
  RETORT_ASSIGN_OR_RETURN(std::byte* const slot, BeginBytes(version, /*stream=*/nullptr));
  return absl::MakeSpan(reinterpret_cast<float*>(slot), static_cast<size_t>(shape_.slot_elements));
}

absl::StatusOr<std::byte*> WeightRingWriter::BeginBytes(int64_t version, gpu::Stream stream) {
  open_.reset();
  open_version_ = -1;
  const bool host = shape_.transport == TransportKind::kHost;
  absl::StatusOr<SlotWrite> write =
      ring_->Begin(version, stream, host ? kOlderWriterWait : kLeaseWait);
  if (!write.ok()) return WithContext(write.status(), absl::StrCat("weight version ", version));
  open_ = std::make_unique<SlotWrite>(*std::move(write));
  open_version_ = version;
  return open_->data();
}

absl::Status WeightRingWriter::Commit(int64_t version, const Digest& digest,
                                      absl::Span<const float> canary) {
  if (version != open_version_ || version < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("commit of weight version ", version, "; the open one is ", open_version_));
  }
  if (canary.size() > kMaxCanaryFloats) {
    return absl::InvalidArgumentError(
        absl::StrCat("canary of ", canary.size(), " floats; at most ", kMaxCanaryFloats));
  }
  RETORT_RETURN_IF_ERROR(WithContext(
      open_->Commit(MakeTensorHeader(/*step=*/version, /*sequence=*/version, shape_.dtype,
                                     {shape_.slot_elements},
                                     EncodeWeightLabel({digest, {canary.begin(), canary.end()}}))),
      absl::StrCat("weight version ", version)));
  open_.reset();
  open_version_ = -1;
  return absl::OkStatus();
}

absl::StatusOr<WeightRingReader> WeightRingReader::Open(Segment segment, absl::Duration timeout) {
  absl::StatusOr<TensorRingObserver> ring = TensorRingObserver::Open(std::move(segment), timeout);
  if (!ring.ok()) return WithContext(ring.status(), "weight ring");
  const TensorRingShape& shape = ring->shape();
  const WeightRingShape weights{.slots = shape.slots,
                                .slot_elements = shape.slot_bytes / kFloatBytes};
  if (!IsValid(weights) || ToTensorRing(weights) != shape) {
    return absl::DataLossError(absl::StrCat("the segment holds a ring of ", shape.slots,
                                            " slots of ", shape.slot_bytes,
                                            " bytes that is none of weights"));
  }
  return WeightRingReader(*std::move(ring), weights);
}

absl::StatusOr<WeightView> WeightRingReader::Acquire(const AcquireRequest& request) const {
  absl::StatusOr<TensorView> view = ring_.Observe({.sequence = request.version,
                                                   .min_epoch = request.min_epoch,
                                                   .timeout = request.timeout,
                                                   .await_successor = true,
                                                   .noun = "version"});
  if (!view.ok()) return WithContext(view.status(), "weight ring");
  RETORT_ASSIGN_OR_RETURN(WeightLabel label, ReadWeightLabel(view->header, request.digest));
  WeightView weights;
  weights.version = view->header.sequence;
  weights.epoch = view->header.epoch;
  weights.digest = label.digest;
  weights.weights = absl::MakeConstSpan(reinterpret_cast<const float*>(view->data.data()),
                                        view->data.size() / sizeof(float));
  weights.canary = std::move(label.canary);
  weights.slot = *std::move(view);
  return weights;
}

bool WeightRingReader::StillHolds(const WeightView& view) const {
  return ring_.StillHolds(view.slot);
}

}  // namespace retort::ring
