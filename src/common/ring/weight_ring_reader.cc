#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/futex.h"
#include "common/base/status_macros.h"
#include "common/ring/weight_ring_layout.h"

namespace retort::ring {
namespace {

// Sleeps until something is published after `seen` was read; false when `end` has come.
bool WaitForPublication(const RingHeader& header, uint32_t seen, absl::Duration end) {
  const absl::Duration left = end - Clock::Real()->Now();
  if (left <= absl::ZeroDuration()) return false;
  FutexWait(header.publications, seen, std::min(left, absl::Seconds(1)));
  return true;
}

struct SlotContents {
  int64_t version = -1;
  uint64_t epoch = 0;
  Digest digest;
  int32_t canary_floats = 0;
  float canary[kMaxCanaryFloats];
};

// A consistent copy of the slot's header; version -1 while the slot is being written.
SlotContents ReadSlot(const SlotHeader& slot) {
  SlotContents contents;
  constexpr auto kAcquire = std::memory_order_acquire;
  const int64_t before = slot.version_plus_one.load(kAcquire);
  if (before <= 0) return contents;
  contents.epoch = slot.epoch.load(kAcquire);
  contents.digest = {slot.digest_high.load(kAcquire), slot.digest_low.load(kAcquire)};
  contents.canary_floats = std::clamp(slot.canary_floats.load(kAcquire), 0, kMaxCanaryFloats);
  for (int i = 0; i < contents.canary_floats; ++i) {
    contents.canary[i] = slot.canary[i].load(kAcquire);
  }
  if (slot.version_plus_one.load(std::memory_order_relaxed) == before) {
    contents.version = before - 1;
  }
  return contents;
}

std::string Describe(const SlotContents& contents, uint64_t min_epoch) {
  if (contents.version < 0) return "holds nothing";
  return absl::StrCat("holds version ", contents.version, " of epoch ", contents.epoch,
                      contents.epoch < min_epoch ? absl::StrCat(", wanted epoch ", min_epoch) : "");
}

}  // namespace

WeightRingReader::WeightRingReader(Segment segment, const WeightRingShape& shape)
    : segment_(std::move(segment)), shape_(shape) {}

absl::StatusOr<WeightRingReader> WeightRingReader::Open(Segment segment, absl::Duration timeout) {
  if (segment.bytes() < static_cast<int64_t>(sizeof(RingHeader))) {
    return absl::DataLossError(
        absl::StrCat("a segment of ", segment.bytes(), " bytes is too small for a weight ring"));
  }
  const RingHeader& header = HeaderOf(segment);
  const absl::Duration end = Clock::Real()->Now() + timeout;
  uint64_t magic = 0;
  while (true) {
    const uint32_t seen = header.publications.load(std::memory_order_acquire);
    magic = header.magic.load(std::memory_order_acquire);
    if (magic != 0) break;
    if (!WaitForPublication(header, seen, end)) {
      return absl::DeadlineExceededError(absl::StrCat(
          "no learner formatted the weight ring within ", absl::FormatDuration(timeout)));
    }
  }
  const WeightRingShape shape{static_cast<int>(std::min<uint32_t>(header.slots, kMaxRingSlots + 1)),
                              header.slot_elements};
  if (magic != kRingMagic || header.format != kRingFormat || !IsValid(shape) ||
      WeightRingBytes(shape) != segment.bytes()) {
    return absl::DataLossError(absl::StrCat("weight ring header (magic ", magic, ", format ",
                                            header.format, ", ", header.slots, " slots of ",
                                            header.slot_elements, " elements) does not fit its ",
                                            segment.bytes(), " bytes"));
  }
  return WeightRingReader(std::move(segment), shape);
}

absl::StatusOr<WeightView> WeightRingReader::Acquire(const AcquireRequest& request) const {
  if (request.version < 0) {
    return absl::InvalidArgumentError(absl::StrCat("weight version ", request.version));
  }
  const RingHeader& header = HeaderOf(segment_);
  const SlotHeader& slot = SlotOf(segment_, shape_, request.version);
  const absl::Duration end = Clock::Real()->Now() + request.timeout;
  while (true) {
    const uint32_t seen = header.publications.load(std::memory_order_acquire);
    const SlotContents held = ReadSlot(slot);
    if (held.version == request.version && held.epoch >= request.min_epoch) {
      if (held.digest != request.digest) {
        return absl::DataLossError(absl::StrCat("weight version ", request.version,
                                                " in the ring has digest ", held.digest.ToHex(),
                                                ", expected ", request.digest.ToHex()));
      }
      return WeightView{held.version, held.epoch, held.digest,
                        absl::MakeConstSpan(PayloadOf(segment_, shape_, request.version),
                                            static_cast<size_t>(shape_.slot_elements)),
                        std::vector<float>(held.canary, held.canary + held.canary_floats)};
    }
    if (!WaitForPublication(header, seen, end)) {
      return absl::DeadlineExceededError(absl::StrCat(
          "weight version ", request.version, " was not in the ring within ",
          absl::FormatDuration(request.timeout), "; its slot ", Describe(held, request.min_epoch)));
    }
  }
}

bool WeightRingReader::StillHolds(const WeightView& view) const {
  if (view.version < 0) return false;
  // The reads of the payload come before the look at the version.
  PayloadFence();
  const SlotContents held = ReadSlot(SlotOf(segment_, shape_, view.version));
  return held.version == view.version && held.epoch == view.epoch;
}

}  // namespace retort::ring
