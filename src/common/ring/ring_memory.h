// The control segment of a tensor ring: its bytes, and the words of slot_protocol.h in it. Internal
// to ring/.
//
//   RingHeader | RingExport | ConsumerEntry x max_consumers | SlotControl x slots | leases
//   | payload
//
// Invariants
//   - A zero-filled segment is a ring that nobody has formatted: magic 0, every slot empty, no
//     consumer.
//   - `magic` is stored last when formatting (release); whoever loads it (acquire) sees the shape,
//     which never changes afterwards.
//   - A SharedRecord is written only by who may (a slot's by the holder of its lock, the export by
//     the producer, a consumer's by the owner of the entry). The reader of a slot's record looks
//     afterwards whether `state` is unchanged; others are loaded whole.
//   - What is read from the segment is checked before it is used as a size, an index or a count.
#pragma once

#include <atomic>
#include <cstring>
#include <memory>
#include <type_traits>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/gpu/gpu_api.h"
#include "common/ring/segment.h"
#include "common/ring/slot_protocol.h"
#include "common/ring/tensor_header.h"
#include "common/ring/tensor_ring_shape.h"

namespace retort::ring {

inline constexpr uint64_t kRingMagic = 0x3247'4e49'5254'4252;  // "RBTRING2"
inline constexpr uint32_t kRingFormat = 2;

// How long a sleeper trusts that it will be woken before it looks whether the others live.
inline constexpr absl::Duration kLookAgain = absl::Milliseconds(50);

// A plain struct that one process writes while others may read it: word by word, so that no access
// is a race. Stored with release after the guarding word said that it changes, loaded with acquire
// before that word is looked at again: a reader that saw one new word sees the change.
template <typename T>
class SharedRecord {
 public:
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % sizeof(uint64_t) == 0);

  void Store(const T& value) {
    uint64_t words[kWords];
    std::memcpy(words, &value, sizeof(T));
    for (size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_release);
  }
  T Load() const {
    uint64_t words[kWords];
    for (size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_acquire);
    T value;
    std::memcpy(&value, words, sizeof(T));
    return value;
  }
  // For a record without a guarding word: whoever changes it stores zeros first. False while it
  // changes.
  bool LoadWhole(T* value) const {
    *value = Load();
    const T again = Load();
    return std::memcmp(value, &again, sizeof(T)) == 0;
  }

 private:
  static constexpr size_t kWords = sizeof(T) / sizeof(uint64_t);
  std::atomic<uint64_t> words_[kWords];
};

// A TensorHeader in the segment.
struct SlotRecord {
  uint64_t epoch, generation;
  int64_t step, sequence, bytes;
  uint32_t dtype, dimensions;
  int64_t shape[kMaxTensorDimensions];
  uint64_t annotation_bytes;
  char annotation[kMaxAnnotationBytes];
};

// An event between processes: how others open it, and where it is in its own process.
struct EventRecord {
  gpu::EventHandle handle;
  uint64_t address;
  uint64_t process;
  uint64_t serial;  // Not 0 if there is an event; another one of the process has another serial.
};

// The device memory of a generation.
struct RingExport {
  gpu::MemoryHandle handle;
  char device_uuid[64];  // NUL-terminated.
  uint64_t generation;
  uint64_t process;  // Its producer.
  uint64_t address;  // In the producer's process.
  int64_t bytes, slot_stride;
};

struct alignas(64) RingHeader {
  std::atomic<uint64_t> magic;
  uint32_t format, transport;
  int64_t slot_bytes;
  uint32_t slots, max_consumers;
  std::atomic<uint64_t> pid_namespace;  // Of the producers.
  alignas(64) std::atomic<uint64_t> epoch;
  std::atomic<uint64_t> producer, generation, exported;
  alignas(64) std::atomic<uint32_t> publications;
  alignas(64) std::atomic<uint32_t> releases;
};

struct alignas(64) ConsumerEntry {
  std::atomic<uint64_t> owner, opened;
  SharedRecord<EventRecord> event;  // Of the owner, if it names the same process.
};

struct alignas(64) SlotControl {
  std::atomic<uint64_t> state, writer;
  SharedRecord<SlotRecord> record;  // Guarded by `state`.
  SharedRecord<EventRecord> written;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

// Between a slot's words and its payload, whose accesses are ordinary ones.
inline void PayloadFence() {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored \
    "-Wtsan"  // TSan does not model fences; it needs none of their order here.
  std::atomic_thread_fence(std::memory_order_seq_cst);
#pragma GCC diagnostic pop
}

// Thread-safe. Every access is the failpoint `ring.step`.
class RingMemory : public WordMemory {
 public:
  // For a producer: formats a new segment, or checks that it holds a ring of this shape. Errors:
  // see TensorRingProducer::Open.
  static absl::StatusOr<std::unique_ptr<RingMemory>> Format(Segment segment,
                                                            const TensorRingShape& shape);
  // For a reader: waits until a producer has formatted it. Errors: see TensorRingObserver::Open.
  static absl::StatusOr<std::unique_ptr<RingMemory>> Join(Segment segment, absl::Duration timeout);

  uint64_t Load(WordId id) override;
  void Store(WordId id, uint64_t value) override;
  uint64_t CompareExchange(WordId id, uint64_t expected, uint64_t desired) override;
  void Add(WordId counter) override;
  bool IsAlive(uint64_t process) override;

  // Sleeps while the counter is `seen`, at most min(timeout, kLookAgain).
  void Sleep(WordId counter, uint64_t seen, absl::Duration timeout);

  const TensorRingShape& shape() const { return shape_; }
  RingHeader& header() const { return *reinterpret_cast<RingHeader*>(segment_.data()); }
  SharedRecord<RingExport>& exported() const;
  ConsumerEntry& consumer(int index) const;
  SlotControl& slot(int index) const;
  std::byte* host_payload(int slot) const;  // Null for a device ring.

 private:
  RingMemory(Segment segment, const TensorRingShape& shape)
      : segment_(std::move(segment)), shape_(shape) {}
  std::atomic<uint64_t>& WordOf(WordId id) const;
  std::atomic<uint32_t>& CounterOf(WordId id) const;

  const Segment segment_;
  const TensorRingShape shape_;
};

// Steps until the program waits or ends.
template <typename Program>
Progress RunUntilBlocked(Program& program, WordMemory& memory) {
  Progress progress = Progress::kRunning;
  while (progress == Progress::kRunning) progress = program.Step(memory);
  return progress;
}

// Slots begin at multiples of this in the payload: whole pages, and what a huge page wants.
int64_t SlotStrideBytes(int64_t slot_bytes);

SlotRecord ToRecord(const TensorHeader& header, uint64_t epoch, uint64_t generation);
// DATA_LOSS if the record, which another process wrote, is none of a tensor in this ring.
absl::StatusOr<TensorHeader> FromRecord(const SlotRecord& record, int64_t slot_bytes);

}  // namespace retort::ring
