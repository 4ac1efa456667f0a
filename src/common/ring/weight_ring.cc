#include "common/ring/weight_ring.h"

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace retort::ring {
namespace {

constexpr int64_t kFloatBytes = sizeof(float);
constexpr int64_t kMaxSlotElements = kMaxSlotBytes / kFloatBytes;

// How long a writer waits for one of an older epoch that still lives in the slot: its launcher is
// about to end it.
constexpr absl::Duration kOlderWriterWait = absl::Seconds(10);

// A tensor's annotation: the digest, then the canary's floats.
struct DigestWords {
  uint64_t high, low;
};
static_assert(sizeof(DigestWords) + kMaxCanaryFloats * kFloatBytes <= kMaxAnnotationBytes);

bool IsValid(const WeightRingShape& shape) {
  return shape.slots >= 2 && shape.slots <= kMaxRingSlots && shape.slot_elements >= 1 &&
         shape.slot_elements <= kMaxSlotElements;
}

TensorRingShape ToTensorRing(const WeightRingShape& shape) {
  return {.slots = shape.slots,
          .slot_bytes = shape.slot_elements * kFloatBytes,
          .max_consumers = 0,
          .transport = TransportKind::kHost};
}

std::string Annotate(const Digest& digest, absl::Span<const float> canary) {
  const DigestWords words{digest.high, digest.low};
  std::string text(sizeof(words) + canary.size() * sizeof(float), '\0');
  std::memcpy(text.data(), &words, sizeof(words));
  if (!canary.empty()) {
    std::memcpy(text.data() + sizeof(words), canary.data(), canary.size() * sizeof(float));
  }
  return text;
}

absl::StatusOr<WeightView> ToWeights(TensorView view) {
  const std::string& text = view.header.annotation;
  const bool whole = text.size() >= sizeof(DigestWords) &&
                     (text.size() - sizeof(DigestWords)) % sizeof(float) == 0 &&
                     view.header.dtype == Dtype::kFloat32;
  if (!whole) {
    return absl::DataLossError(
        absl::StrCat("weight version ", view.header.sequence, ": its slot's header is damaged"));
  }
  WeightView weights;
  DigestWords words;
  std::memcpy(&words, text.data(), sizeof(words));
  weights.version = view.header.sequence;
  weights.epoch = view.header.epoch;
  weights.digest = {words.high, words.low};
  weights.weights = absl::MakeConstSpan(reinterpret_cast<const float*>(view.data.data()),
                                        view.data.size() / sizeof(float));
  weights.canary.resize((text.size() - sizeof(words)) / sizeof(float));
  if (!weights.canary.empty()) {
    std::memcpy(weights.canary.data(), text.data() + sizeof(words), text.size() - sizeof(words));
  }
  weights.slot = std::move(view);
  return weights;
}

}  // namespace

int64_t WeightRingBytes(const WeightRingShape& shape) {
  RETORT_CHECK(IsValid(shape)) << "weight ring of " << shape.slots << " slots of "
                               << shape.slot_elements << " elements";
  return TensorRingBytes(ToTensorRing(shape));
}

absl::StatusOr<WeightRingWriter> WeightRingWriter::Open(Segment segment,
                                                        const WeightRingShape& shape,
                                                        uint64_t epoch) {
  if (!IsValid(shape)) {
    return absl::InvalidArgumentError(absl::StrCat("weight ring of ", shape.slots, " slots of ",
                                                   shape.slot_elements, " elements; expected 2 to ",
                                                   kMaxRingSlots, " slots of at least 1"));
  }
  ProducerOptions options;
  options.epoch = epoch;
  options.when_busy = BusyPolicy::kRevoke;
  absl::StatusOr<std::unique_ptr<TensorRingProducer>> ring = TensorRingProducer::Open(
      std::move(segment), ToTensorRing(shape), options, HostProducerTransport());
  if (!ring.ok()) return WithContext(ring.status(), "weight ring");
  return WeightRingWriter(*std::move(ring), shape);
}

absl::StatusOr<absl::Span<float>> WeightRingWriter::Begin(int64_t version) {
  open_.reset();
  open_version_ = -1;
  absl::StatusOr<SlotWrite> write = ring_->Begin(version, /*stream=*/nullptr, kOlderWriterWait);
  if (!write.ok()) return WithContext(write.status(), absl::StrCat("weight version ", version));
  open_ = std::make_unique<SlotWrite>(*std::move(write));
  open_version_ = version;
  return absl::MakeSpan(reinterpret_cast<float*>(open_->data()),
                        static_cast<size_t>(shape_.slot_elements));
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
      open_->Commit(MakeTensorHeader(/*step=*/version, /*sequence=*/version, Dtype::kFloat32,
                                     {shape_.slot_elements}, Annotate(digest, canary))),
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
  RETORT_ASSIGN_OR_RETURN(WeightView weights, ToWeights(*std::move(view)));
  if (weights.digest != request.digest) {
    return absl::DataLossError(absl::StrCat("weight version ", request.version,
                                            " in the ring has digest ", weights.digest.ToHex(),
                                            ", expected ", request.digest.ToHex()));
  }
  return weights;
}

bool WeightRingReader::StillHolds(const WeightView& view) const {
  return ring_.StillHolds(view.slot);
}

}  // namespace retort::ring
