// The producer's side of slots in device memory.
#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/process_identity.h"
#include "common/base/status_macros.h"
#include "common/ring/payload_transport.h"
#include "common/ring/ring_memory.h"

namespace retort::ring {
namespace {

class DeviceProducer : public ProducerTransport {
 public:
  DeviceProducer(gpu::Api* api, int device) : api_(api), device_(device) {}
  ~DeviceProducer() override { DestroyEvents(); }

  TransportKind kind() const override { return TransportKind::kDeviceIpc; }
  absl::Status Open(RingMemory& ring, uint64_t self, uint64_t generation) override;
  std::byte* Payload(RingMemory&, int slot) override { return memory_ + slot * stride_; }
  absl::Status BeforeWrite(RingMemory& ring, int slot, gpu::Stream stream) override;
  absl::Status Copy(std::byte* to, const void* from, int64_t bytes, gpu::Stream stream) override {
    return bytes == 0 ? absl::OkStatus() : api_->Copy(to, from, bytes, stream);
  }
  absl::Status AfterWrite(int slot, gpu::Stream stream) override {
    return api_->Record(written_[static_cast<size_t>(slot)], stream);
  }
  absl::Status Free() override;
  void Leak() override;

 private:
  // A consumer's event: what AfterRead of the consumer records.
  struct Released {
    uint64_t process = 0;
    uint64_t serial = 0;
    gpu::Event event = nullptr;
    bool opened = false;  // From another process: to be destroyed here too.
  };

  absl::Status Allocate(const TensorRingShape& shape, RingExport* exported);
  absl::Status PublishEvents(RingMemory& ring);
  absl::Status WaitForConsumer(RingMemory& ring, int entry, gpu::Stream stream);
  absl::Status OpenReleased(const EventRecord& record, Released& released);
  void Forget(Released& released);
  void DestroyEvents();

  gpu::Api* const api_;
  const int device_;
  uint64_t self_ = 0;
  std::byte* memory_ = nullptr;
  int64_t stride_ = 0;
  std::vector<gpu::Event> written_;   // By slot.
  std::map<int, Released> released_;  // By entry of the consumer table.
};

absl::Status DeviceProducer::Allocate(const TensorRingShape& shape, RingExport* exported) {
  RETORT_RETURN_IF_ERROR(api_->SetDevice(device_));
  RETORT_ASSIGN_OR_RETURN(const std::vector<gpu::DeviceInfo> devices, api_->Devices());
  const auto own = std::find_if(devices.begin(), devices.end(),
                                [&](const gpu::DeviceInfo& info) { return info.index == device_; });
  if (own == devices.end() || own->uuid.size() >= sizeof(exported->device_uuid)) {
    return absl::FailedPreconditionError(
        absl::StrCat("device ", device_, " cannot hold a tensor ring: this process sees ",
                     devices.size(), " devices"));
  }
  stride_ = SlotStrideBytes(shape.slot_bytes);
  exported->bytes = stride_ * shape.slots;
  exported->slot_stride = stride_;
  std::memcpy(exported->device_uuid, own->uuid.data(), own->uuid.size());
  RETORT_ASSIGN_OR_RETURN(void* const memory, api_->Allocate(exported->bytes));
  memory_ = static_cast<std::byte*>(memory);
  exported->address = reinterpret_cast<uint64_t>(memory_);
  RETORT_ASSIGN_OR_RETURN(exported->handle, api_->Export(memory_));
  return absl::OkStatus();
}

absl::Status DeviceProducer::PublishEvents(RingMemory& ring) {
  for (int slot = 0; slot < ring.shape().slots; ++slot) {
    RETORT_ASSIGN_OR_RETURN(const gpu::Event event, api_->CreateEvent(/*shared=*/true));
    written_.push_back(event);
    EventRecord record{};
    RETORT_ASSIGN_OR_RETURN(record.handle, api_->ExportEvent(event));
    record.address = reinterpret_cast<uint64_t>(event);
    record.process = self_;
    record.serial = 1;
    ring.slot(slot).written.Store(record);
  }
  return absl::OkStatus();
}

absl::Status DeviceProducer::Open(RingMemory& ring, uint64_t self, uint64_t generation) {
  self_ = self;
  RingExport exported{};
  RETORT_RETURN_IF_ERROR(WithContext(Allocate(ring.shape(), &exported), "device ring"));
  RETORT_RETURN_IF_ERROR(WithContext(PublishEvents(ring), "device ring"));
  exported.generation = generation;
  exported.process = self;
  ring.exported().Store(RingExport{});
  ring.exported().Store(exported);
  RETORT_RETURN_IF_ERROR(Failpoint("ring.exported"));
  // TakeRing left 0; another value is that of a newer producer.
  if (ring.CompareExchange({Word::kExported}, 0, generation) != 0) {
    return absl::AbortedError("a newer producer took the ring over while this one opened it");
  }
  ring.Add({Word::kPublications});
  return absl::OkStatus();
}

absl::Status DeviceProducer::BeforeWrite(RingMemory& ring, int slot, gpu::Stream stream) {
  RETORT_RETURN_IF_ERROR(api_->StreamWait(stream, written_[static_cast<size_t>(slot)]));
  for (int entry = 0; entry < ring.shape().max_consumers; ++entry) {
    RETORT_RETURN_IF_ERROR(WaitForConsumer(ring, entry, stream));
  }
  return absl::OkStatus();
}

// A consumer that has died reads no more, and one that has no event yet has read nothing.
absl::Status DeviceProducer::WaitForConsumer(RingMemory& ring, int entry, gpu::Stream stream) {
  const WordId owner_word{Word::kOwner, 0, entry};
  Released& released = released_[entry];
  const uint64_t owner = ring.Load(owner_word);
  if (owner == 0 || !ring.IsAlive(owner)) {
    Forget(released);
    return absl::OkStatus();
  }
  EventRecord record;
  const bool whole = ring.consumer(entry).event.LoadWhole(&record);
  if (!whole || record.process != owner || record.serial == 0) return absl::OkStatus();
  absl::Status status;
  if (released.process != owner || released.serial != record.serial) {
    Forget(released);
    status = OpenReleased(record, released);
  }
  if (status.ok()) status = api_->StreamWait(stream, released.event);
  if (status.ok()) return status;
  // It may have ended, or given its entry back, between the looks above and the call.
  if (ring.Load(owner_word) != owner || IsEnding(UnpackProcess(owner))) {
    Forget(released);
    return absl::OkStatus();
  }
  // What the run-time calls an invalid argument is the consumer's event, not a caller's.
  const absl::StatusCode code =
      absl::IsInvalidArgument(status) ? absl::StatusCode::kInternal : status.code();
  return absl::Status(code, absl::StrCat("waiting for the reads of process ",
                                         UnpackProcess(owner).pid, ": ", status.message()));
}

absl::Status DeviceProducer::OpenReleased(const EventRecord& record, Released& released) {
  released = {record.process, record.serial, nullptr, false};
  if (record.process == self_) {
    released.event = reinterpret_cast<gpu::Event>(record.address);
    return absl::OkStatus();
  }
  const absl::StatusOr<gpu::Event> event = api_->OpenEvent(record.handle);
  if (!event.ok()) {
    released = {};
    return event.status();
  }
  released.event = *event;
  released.opened = true;
  return absl::OkStatus();
}

void DeviceProducer::Forget(Released& released) {
  if (released.opened) {
    const absl::Status status = api_->DestroyEvent(released.event);
    if (!status.ok()) LogWarning("event of a consumer error=\"{}\"", status.ToString());
  }
  released = {};
}

absl::Status DeviceProducer::Free() {
  DestroyEvents();
  return api_->Free(std::exchange(memory_, nullptr));
}

// The events too stay: a consumer may put a wait for them into a stream.
void DeviceProducer::Leak() {
  memory_ = nullptr;
  written_.clear();
}

void DeviceProducer::DestroyEvents() {
  for (auto& [entry, released] : released_) Forget(released);
  for (const gpu::Event event : std::exchange(written_, {})) {
    const absl::Status status = api_->DestroyEvent(event);
    if (!status.ok()) LogWarning("event of a ring slot error=\"{}\"", status.ToString());
  }
}

}  // namespace

std::unique_ptr<ProducerTransport> DeviceProducerTransport(gpu::Api* api, int device) {
  return std::make_unique<DeviceProducer>(api, device);
}

}  // namespace retort::ring
