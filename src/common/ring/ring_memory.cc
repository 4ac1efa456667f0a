#include "common/ring/ring_memory.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/futex.h"
#include "common/base/process_identity.h"

namespace retort::ring {
namespace {

constexpr int64_t kPayloadAlignment = 4096;

constexpr int64_t AlignUp(int64_t value, int64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

constexpr int64_t kExportOffset = sizeof(RingHeader);
constexpr int64_t kConsumersOffset =
    AlignUp(kExportOffset + static_cast<int64_t>(sizeof(SharedRecord<RingExport>)), 64);

int64_t SlotsOffset(const TensorRingShape& shape) {
  return kConsumersOffset + shape.max_consumers * static_cast<int64_t>(sizeof(ConsumerEntry));
}
int64_t LeasesOffset(const TensorRingShape& shape) {
  return SlotsOffset(shape) + shape.slots * static_cast<int64_t>(sizeof(SlotControl));
}
int64_t ControlBytes(const TensorRingShape& shape) {
  const int64_t leases = int64_t{shape.slots} * shape.max_consumers;
  return AlignUp(LeasesOffset(shape) + leases * static_cast<int64_t>(sizeof(std::atomic<uint64_t>)),
                 kPayloadAlignment);
}

absl::Status OutOfRange(absl::string_view field, int64_t value, int64_t low, int64_t high) {
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ring: ", field, " is ", value, "; expected ", low, " to ", high));
}

TensorRingShape ShapeIn(const RingHeader& header) {
  return {.slots = static_cast<int>(std::min<uint32_t>(header.slots, kMaxRingSlots + 1)),
          .slot_bytes = header.slot_bytes,
          .max_consumers =
              static_cast<int>(std::min<uint32_t>(header.max_consumers, kMaxRingConsumers + 1)),
          .transport = static_cast<TransportKind>(header.transport)};
}

std::string Describe(const RingHeader& header) {
  return absl::StrCat("format ", header.format, ", ", header.slots, " slots of ", header.slot_bytes,
                      " bytes, ", header.max_consumers, " consumers, transport ", header.transport);
}

absl::Status WaitForFormat(const Segment& segment, absl::Duration timeout) {
  if (segment.bytes() < kConsumersOffset) {
    return absl::DataLossError(
        absl::StrCat("a segment of ", segment.bytes(), " bytes is too small for a tensor ring"));
  }
  const auto& header = *reinterpret_cast<const RingHeader*>(segment.data());
  const absl::Duration end = Clock::Real()->Now() + timeout;
  while (true) {
    const uint32_t seen = header.publications.load(std::memory_order_acquire);
    if (header.magic.load(std::memory_order_acquire) != 0) return absl::OkStatus();
    const absl::Duration left = end - Clock::Real()->Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat("no producer formatted the ring within ", absl::FormatDuration(timeout)));
    }
    FutexWait(header.publications, seen, std::min(left, kLookAgain));
  }
}

}  // namespace

int64_t SlotStrideBytes(int64_t slot_bytes) { return AlignUp(slot_bytes, kPayloadAlignment); }

absl::Status CheckTensorRingShape(const TensorRingShape& shape) {
  if (shape.slots < 1 || shape.slots > kMaxRingSlots) {
    return OutOfRange("slots", shape.slots, 1, kMaxRingSlots);
  }
  if (shape.slot_bytes < 1 || shape.slot_bytes > kMaxSlotBytes) {
    return OutOfRange("slot_bytes", shape.slot_bytes, 1, kMaxSlotBytes);
  }
  if (shape.max_consumers < 0 || shape.max_consumers > kMaxRingConsumers) {
    return OutOfRange("max_consumers", shape.max_consumers, 0, kMaxRingConsumers);
  }
  if (shape.transport != TransportKind::kHost && shape.transport != TransportKind::kDeviceIpc) {
    return OutOfRange("transport", static_cast<int64_t>(shape.transport), 1, 2);
  }
  return absl::OkStatus();
}

int64_t TensorRingBytes(const TensorRingShape& shape) {
  const absl::Status status = CheckTensorRingShape(shape);
  RETORT_CHECK(status.ok()) << status.ToString();
  const int64_t payload =
      shape.transport == TransportKind::kHost ? shape.slots * SlotStrideBytes(shape.slot_bytes) : 0;
  return ControlBytes(shape) + payload;
}

absl::StatusOr<std::unique_ptr<RingMemory>> RingMemory::Format(Segment segment,
                                                               const TensorRingShape& shape) {
  if (absl::Status status = CheckTensorRingShape(shape); !status.ok()) return status;
  if (segment.bytes() != TensorRingBytes(shape)) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ring: the segment has ", segment.bytes(),
                                                   " bytes, expected ", TensorRingBytes(shape)));
  }
  std::unique_ptr<RingMemory> memory(new RingMemory(std::move(segment), shape));
  RingHeader& header = memory->header();
  const uint64_t magic = header.magic.load(std::memory_order_acquire);
  if (magic == 0) {
    header.format = kRingFormat;
    header.transport = static_cast<uint32_t>(shape.transport);
    header.slot_bytes = shape.slot_bytes;
    header.slots = static_cast<uint32_t>(shape.slots);
    header.max_consumers = static_cast<uint32_t>(shape.max_consumers);
    header.magic.store(kRingMagic, std::memory_order_release);
  } else if (magic != kRingMagic || header.format != kRingFormat || ShapeIn(header) != shape) {
    return absl::FailedPreconditionError(
        absl::StrCat("the segment holds a ring of another shape (", Describe(header),
                     "), expected ", shape.slots, " slots of ", shape.slot_bytes, " bytes, ",
                     shape.max_consumers, " consumers; drop the segment or use its shape"));
  }
  return memory;
}

absl::StatusOr<std::unique_ptr<RingMemory>> RingMemory::Join(Segment segment,
                                                             absl::Duration timeout) {
  if (absl::Status status = WaitForFormat(segment, timeout); !status.ok()) return status;
  const auto& header = *reinterpret_cast<const RingHeader*>(segment.data());
  const TensorRingShape shape = ShapeIn(header);
  if (header.magic.load(std::memory_order_acquire) != kRingMagic || header.format != kRingFormat ||
      !CheckTensorRingShape(shape).ok() || TensorRingBytes(shape) != segment.bytes()) {
    return absl::DataLossError(absl::StrCat("the ring's header (", Describe(header),
                                            ") does not fit its ", segment.bytes(), " bytes"));
  }
  return std::unique_ptr<RingMemory>(new RingMemory(std::move(segment), shape));
}

SharedRecord<RingExport>& RingMemory::exported() const {
  return *reinterpret_cast<SharedRecord<RingExport>*>(segment_.data() + kExportOffset);
}
ConsumerEntry& RingMemory::consumer(int index) const {
  return reinterpret_cast<ConsumerEntry*>(segment_.data() + kConsumersOffset)[index];
}
SlotControl& RingMemory::slot(int index) const {
  return reinterpret_cast<SlotControl*>(segment_.data() + SlotsOffset(shape_))[index];
}
std::byte* RingMemory::host_payload(int slot) const {
  if (shape_.transport != TransportKind::kHost) return nullptr;
  return segment_.data() + ControlBytes(shape_) + slot * SlotStrideBytes(shape_.slot_bytes);
}

std::atomic<uint64_t>& RingMemory::WordOf(WordId id) const {
  switch (id.word) {
    case Word::kEpoch:
      return header().epoch;
    case Word::kProducer:
      return header().producer;
    case Word::kGeneration:
      return header().generation;
    case Word::kExported:
      return header().exported;
    case Word::kOwner:
      return consumer(id.consumer).owner;
    case Word::kOpened:
      return consumer(id.consumer).opened;
    case Word::kState:
      return slot(id.slot).state;
    case Word::kWriter:
      return slot(id.slot).writer;
    case Word::kLease:
    case Word::kPublications:
    case Word::kReleases:
      break;
  }
  auto* const leases =
      reinterpret_cast<std::atomic<uint64_t>*>(segment_.data() + LeasesOffset(shape_));
  return leases[int64_t{id.slot} * shape_.max_consumers + id.consumer];
}

std::atomic<uint32_t>& RingMemory::CounterOf(WordId id) const {
  return id.word == Word::kReleases ? header().releases : header().publications;
}

namespace {
bool IsCounter(WordId id) { return id.word == Word::kReleases || id.word == Word::kPublications; }
// Where tests end the process; `error` has no meaning there.
void StepFailpoint() { Failpoint("ring.step").IgnoreError(); }
}  // namespace

uint64_t RingMemory::Load(WordId id) {
  StepFailpoint();
  return IsCounter(id) ? CounterOf(id).load() : WordOf(id).load();
}
void RingMemory::Store(WordId id, uint64_t value) {
  StepFailpoint();
  WordOf(id).store(value);
}
uint64_t RingMemory::CompareExchange(WordId id, uint64_t expected, uint64_t desired) {
  StepFailpoint();
  WordOf(id).compare_exchange_strong(expected, desired);
  return expected;
}
void RingMemory::Add(WordId counter) {
  StepFailpoint();
  CounterOf(counter).fetch_add(1);
  FutexWakeAll(CounterOf(counter));
}
bool RingMemory::IsAlive(uint64_t process) {
  StepFailpoint();
  return retort::IsAlive(UnpackProcess(process));
}

void RingMemory::Sleep(WordId counter, uint64_t seen, absl::Duration timeout) {
  FutexWait(CounterOf(counter), static_cast<uint32_t>(seen), std::min(timeout, kLookAgain));
}

}  // namespace retort::ring
