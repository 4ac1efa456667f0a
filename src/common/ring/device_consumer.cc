// A consumer's side of slots in device memory.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/process_identity.h"
#include "common/base/status_macros.h"
#include "common/ring/payload_transport.h"
#include "common/ring/ring_membership.h"
#include "common/ring/ring_memory.h"

namespace retort::ring {
namespace {

constexpr absl::Duration kPollPause = absl::Milliseconds(1);

absl::Status Ended(uint64_t generation) {
  return absl::UnavailableError(absl::StrCat(
      "generation ", generation,
      " of the device ring has ended with its producer; wait for the producer's successor"));
}

class DeviceConsumer : public ConsumerTransport {
 public:
  DeviceConsumer(gpu::Api* api, int device) : api_(api), device_(device) {}
  ~DeviceConsumer() override {
    if (detached_ && read_ != nullptr) Report(api_->DestroyEvent(read_));
  }

  TransportKind kind() const override { return TransportKind::kDeviceIpc; }
  absl::Status Attach(RingMemory& ring, int entry, uint64_t self) override;
  absl::StatusOr<const std::byte*> Payload(uint64_t generation, int slot) override;
  absl::Status BeforeRead(int slot, gpu::Stream stream) override {
    return api_->StreamWait(stream, opened_.written[static_cast<size_t>(slot)]);
  }
  absl::Status AfterRead(gpu::Stream stream) override;
  bool IsCurrent(uint64_t generation) override;
  void CloseStale(absl::Duration wait) override;
  absl::Status Detach(absl::Duration wait) override;

 private:
  // The memory of one generation. The key is what would make it another one.
  struct Opened {
    uint64_t generation = 0;  // 0: nothing is open.
    uint64_t process = 0;     // Its producer.
    gpu::MemoryHandle handle;
    std::byte* memory = nullptr;
    int64_t stride = 0;
    bool own = false;  // Of this process: used by its address, which no handle may open.
    std::vector<gpu::Event> written;  // By slot.
  };

  absl::Status Open(uint64_t generation);
  absl::StatusOr<RingExport> LoadExport(uint64_t generation) const;
  absl::Status OpenMemory(const RingExport& exported);
  absl::Status OpenEvents();
  absl::Status AwaitReads(absl::Duration wait);
  void Close();
  static void Report(const absl::Status& status) {
    if (!status.ok()) LogWarning("device ring close error=\"{}\"", status.ToString());
  }

  gpu::Api* const api_;
  const int device_;
  RingMemory* ring_ = nullptr;
  int entry_ = -1;
  uint64_t self_ = 0;
  gpu::Event read_ = nullptr;        // Recorded at every release; the producer waits for it.
  gpu::Stream last_read_ = nullptr;  // Where it was recorded last.
  bool detached_ = false;
  Opened opened_;
};

absl::Status DeviceConsumer::Attach(RingMemory& ring, int entry, uint64_t self) {
  ring_ = &ring;
  entry_ = entry;
  self_ = self;
  RETORT_RETURN_IF_ERROR(api_->SetDevice(device_));
  RETORT_ASSIGN_OR_RETURN(read_, api_->CreateEvent(/*shared=*/true));
  EventRecord record{};
  RETORT_ASSIGN_OR_RETURN(record.handle, api_->ExportEvent(read_));
  record.address = reinterpret_cast<uint64_t>(read_);
  record.process = self;
  record.serial = static_cast<uint64_t>(absl::ToInt64Nanoseconds(Clock::Real()->Now()));
  ring.consumer(entry).event.Store(EventRecord{});
  ring.consumer(entry).event.Store(record);
  return absl::OkStatus();
}

absl::StatusOr<const std::byte*> DeviceConsumer::Payload(uint64_t generation, int slot) {
  if (opened_.generation != generation) {
    if (opened_.generation != 0 && ring_->Load({Word::kGeneration}) != generation) {
      return Ended(generation);
    }
    if (opened_.generation != 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "leases or reads of generation ", opened_.generation,
          " of the device ring are out while ", generation, " is acquired; release them first"));
    }
    RETORT_RETURN_IF_ERROR(Open(generation));
  }
  if (!IsCurrent(generation)) return Ended(generation);
  return opened_.memory + slot * opened_.stride;
}

bool DeviceConsumer::IsCurrent(uint64_t generation) {
  return opened_.generation == generation && ring_->Load({Word::kExported}) == generation &&
         ring_->IsAlive(opened_.process);
}

absl::StatusOr<RingExport> DeviceConsumer::LoadExport(uint64_t generation) const {
  RingExport exported;
  if (!ring_->exported().LoadWhole(&exported) || exported.generation != generation) {
    return Ended(generation);
  }
  const TensorRingShape& shape = ring_->shape();
  const bool fits = exported.slot_stride >= shape.slot_bytes &&
                    exported.slot_stride <= SlotStrideBytes(kMaxSlotBytes) &&
                    exported.bytes == exported.slot_stride * shape.slots;
  if (!fits || exported.device_uuid[sizeof(exported.device_uuid) - 1] != '\0') {
    return absl::DataLossError(absl::StrCat("the device ring's export (", exported.bytes,
                                            " bytes, slots ", exported.slot_stride,
                                            " bytes apart) does not fit the ring"));
  }
  return exported;
}

// The producer keeps the memory while the entry says that it is open (DeclareOpen).
absl::Status DeviceConsumer::Open(uint64_t generation) {
  DeclareOpen declare(entry_, generation);
  if (RunUntilBlocked(declare, *ring_) != Progress::kDone) return Ended(generation);
  opened_.generation = generation;
  const absl::StatusOr<RingExport> exported = LoadExport(generation);
  absl::Status status = exported.status();
  if (status.ok()) status = OpenMemory(*exported);
  if (status.ok()) status = OpenEvents();
  if (status.ok()) return status;
  const bool ended = exported.ok() && (ring_->Load({Word::kExported}) != generation ||
                                       IsEnding(UnpackProcess(exported->process)));
  Close();
  // Handles of a process that has died fail in any way.
  if (ended) return Ended(generation);
  if (!absl::IsInvalidArgument(status)) return status;
  // The run-time calls a handle that it cannot open an invalid argument; no caller gave it.
  return absl::FailedPreconditionError(absl::StrCat(
      status.message(), "; the producer's process must be one of this host that shares its GPUs"));
}

absl::Status DeviceConsumer::OpenMemory(const RingExport& exported) {
  opened_.process = exported.process;
  opened_.handle = exported.handle;
  opened_.stride = exported.slot_stride;
  opened_.own = exported.process == self_;
  if (opened_.own) {
    opened_.memory = reinterpret_cast<std::byte*>(exported.address);
    return absl::OkStatus();
  }
  const std::string uuid = exported.device_uuid;
  RETORT_RETURN_IF_ERROR(api_->SetDevice(device_));
  const absl::StatusOr<bool> can_read = api_->CanRead(device_, uuid);
  if (!can_read.ok() && !absl::IsNotFound(can_read.status())) return can_read.status();
  if (!can_read.ok() || !*can_read) {
    return absl::FailedPreconditionError(absl::StrCat(
        "device ", device_, " of this process cannot read the ring's memory on device ", uuid,
        can_read.ok() ? ": there is no peer access between them"
                      : ": this process does not see that device",
        "; put both processes on one GPU, or on peers, and let both see the same devices "
        "(CUDA_VISIBLE_DEVICES)"));
  }
  RETORT_RETURN_IF_ERROR(Failpoint("ring.opening"));
  absl::StatusOr<void*> memory = api_->OpenMemory(exported.handle);
  if (!memory.ok()) {
    return WithContext(memory.status(), absl::StrCat("opening the device memory of process ",
                                                     UnpackProcess(exported.process).pid,
                                                     ", generation ", exported.generation));
  }
  opened_.memory = static_cast<std::byte*>(*memory);
  return absl::OkStatus();
}

absl::Status DeviceConsumer::OpenEvents() {
  for (int slot = 0; slot < ring_->shape().slots; ++slot) {
    const EventRecord record = ring_->slot(slot).written.Load();
    if (record.process != opened_.process) return Ended(opened_.generation);
    if (opened_.own) {
      opened_.written.push_back(reinterpret_cast<gpu::Event>(record.address));
      continue;
    }
    RETORT_ASSIGN_OR_RETURN(const gpu::Event event, api_->OpenEvent(record.handle));
    opened_.written.push_back(event);
  }
  return absl::OkStatus();
}

// The event's last record must cover all reads, so a stream begins with those of the one before.
absl::Status DeviceConsumer::AfterRead(gpu::Stream stream) {
  if (stream != last_read_) {
    RETORT_RETURN_IF_ERROR(api_->StreamWait(stream, read_));
    last_read_ = stream;
  }
  return api_->Record(read_, stream);
}

void DeviceConsumer::CloseStale(absl::Duration wait) {
  if (opened_.generation == 0 || ring_->Load({Word::kExported}) == opened_.generation) return;
  if (AwaitReads(wait).ok()) Close();
}

void DeviceConsumer::Close() {
  if (!opened_.own) {
    for (const gpu::Event event : opened_.written) Report(api_->DestroyEvent(event));
    if (opened_.memory != nullptr) Report(api_->CloseMemory(opened_.memory));
  }
  opened_ = {};
  DeclareClosed closed(entry_);
  RunUntilBlocked(closed, *ring_);
}

absl::Status DeviceConsumer::AwaitReads(absl::Duration wait) {
  const absl::Duration end = Clock::Real()->Now() + wait;
  while (true) {
    RETORT_ASSIGN_OR_RETURN(const bool done, api_->IsDone(read_));
    if (done) return absl::OkStatus();
    if (Clock::Real()->Now() >= end) {
      return absl::DeadlineExceededError(absl::StrCat(
          "reads of the device ring were still under way after ", absl::FormatDuration(wait)));
    }
    absl::SleepFor(kPollPause);
  }
}

absl::Status DeviceConsumer::Detach(absl::Duration wait) {
  if (read_ != nullptr) RETORT_RETURN_IF_ERROR(AwaitReads(wait));
  if (opened_.generation != 0) Close();
  detached_ = true;
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<ConsumerTransport> DeviceConsumerTransport(gpu::Api* api, int device) {
  return std::make_unique<DeviceConsumer>(api, device);
}

}  // namespace retort::ring
