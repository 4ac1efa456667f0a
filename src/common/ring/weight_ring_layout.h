// The bytes of a weight ring. Internal to ring/.
//
// Invariants
//   - A zero-filled segment is a ring that nobody has formatted: magic 0, every slot holds nothing.
//   - `magic` is stored last when formatting (release); whoever loads it (acquire) sees the other
//   fields, which
//     never change afterwards, but for `epoch` and `publications`.
//   - SlotHeader::version_plus_one is 0 while the slot is being written; the slot's other fields
//   and its payload
//     change only then.
#pragma once

#include <atomic>
#include <cstdint>

#include "common/ring/weight_ring.h"

namespace retort::ring {

inline constexpr uint64_t kRingMagic = 0x3147'4e49'5254'4252;  // "RBTRING1"
inline constexpr uint32_t kRingFormat = 1;
inline constexpr int kMaxRingSlots = 1024;
inline constexpr int64_t kMaxSlotElements = int64_t{1} << 38;  // 1 TiB of fp32.
inline constexpr int64_t kPayloadAlignment = 4096;

struct alignas(64) RingHeader {
  std::atomic<uint64_t> magic;
  uint32_t format;
  uint32_t slots;
  int64_t slot_elements;
  std::atomic<uint64_t> epoch;         // Of the newest writer.
  std::atomic<uint32_t> publications;  // Counts Open and Commit; readers sleep on it.
};

// Each field is stored with release after version_plus_one became 0, and loaded with acquire before
// it is looked at again: a reader that saw one new field sees the 0.
struct alignas(64) SlotHeader {
  std::atomic<int64_t> version_plus_one;
  std::atomic<uint64_t> epoch;
  std::atomic<uint64_t> digest_high;
  std::atomic<uint64_t> digest_low;
  std::atomic<int32_t> canary_floats;
  std::atomic<float> canary[kMaxCanaryFloats];
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(std::atomic<int64_t>::is_always_lock_free);
static_assert(std::atomic<float>::is_always_lock_free);

// Between the version word and the payload, whose accesses are ordinary ones.
inline void PayloadFence() {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored \
    "-Wtsan"  // TSan does not model fences; it needs none of their order here.
  std::atomic_thread_fence(std::memory_order_seq_cst);
#pragma GCC diagnostic pop
}

inline int64_t AlignUp(int64_t value, int64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}
inline bool IsValid(const WeightRingShape& shape) {
  return shape.slots >= 2 && shape.slots <= kMaxRingSlots && shape.slot_elements >= 1 &&
         shape.slot_elements <= kMaxSlotElements;
}
inline int64_t PayloadOffset(int slots) {
  return AlignUp(static_cast<int64_t>(sizeof(RingHeader) + slots * sizeof(SlotHeader)),
                 kPayloadAlignment);
}
inline int64_t SlotStrideBytes(int64_t slot_elements) {
  return AlignUp(slot_elements * static_cast<int64_t>(sizeof(float)), kPayloadAlignment);
}

inline RingHeader& HeaderOf(const Segment& segment) {
  return *reinterpret_cast<RingHeader*>(segment.data());
}
inline SlotHeader& SlotOf(const Segment& segment, const WeightRingShape& shape, int64_t version) {
  auto* const slots = reinterpret_cast<SlotHeader*>(segment.data() + sizeof(RingHeader));
  return slots[version % shape.slots];
}
inline float* PayloadOf(const Segment& segment, const WeightRingShape& shape, int64_t version) {
  return reinterpret_cast<float*>(segment.data() + PayloadOffset(shape.slots) +
                                  (version % shape.slots) * SlotStrideBytes(shape.slot_elements));
}

}  // namespace retort::ring
