#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/futex.h"
#include "common/base/status_macros.h"
#include "common/ring/weight_ring_layout.h"

namespace retort::ring {

int64_t WeightRingBytes(const WeightRingShape& shape) {
  RETORT_CHECK(IsValid(shape)) << "weight ring of " << shape.slots << " slots of "
                               << shape.slot_elements << " elements";
  return PayloadOffset(shape.slots) + shape.slots * SlotStrideBytes(shape.slot_elements);
}

WeightRingWriter::WeightRingWriter(Segment segment, const WeightRingShape& shape, uint64_t epoch)
    : segment_(std::move(segment)), shape_(shape), epoch_(epoch) {}

absl::StatusOr<WeightRingWriter> WeightRingWriter::Open(Segment segment,
                                                        const WeightRingShape& shape,
                                                        uint64_t epoch) {
  if (!IsValid(shape)) {
    return absl::InvalidArgumentError(absl::StrCat("weight ring of ", shape.slots, " slots of ",
                                                   shape.slot_elements, " elements; expected 2 to ",
                                                   kMaxRingSlots, " slots of at least 1"));
  }
  if (segment.bytes() != WeightRingBytes(shape)) {
    return absl::InvalidArgumentError(absl::StrCat("weight ring segment has ", segment.bytes(),
                                                   " bytes, expected ", WeightRingBytes(shape)));
  }
  RingHeader& header = HeaderOf(segment);
  const uint64_t magic = header.magic.load(std::memory_order_acquire);
  if (magic == 0) {
    header.format = kRingFormat;
    header.slots = static_cast<uint32_t>(shape.slots);
    header.slot_elements = shape.slot_elements;
    header.magic.store(kRingMagic, std::memory_order_release);
  } else if (magic != kRingMagic || header.format != kRingFormat ||
             header.slots != static_cast<uint32_t>(shape.slots) ||
             header.slot_elements != shape.slot_elements) {
    return absl::FailedPreconditionError(
        absl::StrCat("the segment holds a weight ring of ", header.slots, " slots of ",
                     header.slot_elements, " elements, format ", header.format, "; expected ",
                     shape.slots, " of ", shape.slot_elements, ", format ", kRingFormat));
  }
  uint64_t newest = header.epoch.load(std::memory_order_acquire);
  while (newest < epoch && !header.epoch.compare_exchange_weak(newest, epoch)) {
  }
  WeightRingWriter writer(std::move(segment), shape, epoch);
  RETORT_RETURN_IF_ERROR(writer.CheckOwner());
  header.publications.fetch_add(1, std::memory_order_release);
  FutexWakeAll(header.publications);
  return writer;
}

absl::Status WeightRingWriter::CheckOwner() const {
  const uint64_t newest = HeaderOf(segment_).epoch.load(std::memory_order_acquire);
  if (newest <= epoch_) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("the weight ring belongs to a writer of epoch ", newest,
                                         "; this one is of epoch ", epoch_));
}

absl::StatusOr<absl::Span<float>> WeightRingWriter::Begin(int64_t version) {
  if (version < 0) {
    return absl::InvalidArgumentError(absl::StrCat("weight version ", version, " is negative"));
  }
  RETORT_RETURN_IF_ERROR(CheckOwner());
  SlotHeader& slot = SlotOf(segment_, shape_, version);
  slot.version_plus_one.store(0, std::memory_order_relaxed);
  // No write of the payload may become visible before the 0: StillHolds depends on it.
  PayloadFence();
  open_version_ = version;
  return absl::MakeSpan(PayloadOf(segment_, shape_, version),
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
  RETORT_RETURN_IF_ERROR(CheckOwner());
  SlotHeader& slot = SlotOf(segment_, shape_, version);
  constexpr auto kRelease = std::memory_order_release;
  slot.epoch.store(epoch_, kRelease);
  slot.digest_high.store(digest.high, kRelease);
  slot.digest_low.store(digest.low, kRelease);
  slot.canary_floats.store(static_cast<int32_t>(canary.size()), kRelease);
  for (size_t i = 0; i < canary.size(); ++i) slot.canary[i].store(canary[i], kRelease);
  slot.version_plus_one.store(version + 1, std::memory_order_release);
  open_version_ = -1;
  RingHeader& header = HeaderOf(segment_);
  header.publications.fetch_add(1, std::memory_order_release);
  FutexWakeAll(header.publications);
  return absl::OkStatus();
}

}  // namespace retort::ring
