// The payload in the ring's own segment: the leases alone order reads and writes.
#include <cstring>

#include "common/ring/payload_transport.h"
#include "common/ring/ring_memory.h"

namespace retort::ring {
namespace {

class HostProducer : public ProducerTransport {
 public:
  TransportKind kind() const override { return TransportKind::kHost; }
  absl::Status Open(RingMemory&, uint64_t, uint64_t) override { return absl::OkStatus(); }
  std::byte* Payload(RingMemory& ring, int slot) override { return ring.host_payload(slot); }
  absl::Status BeforeWrite(RingMemory&, int, gpu::Stream) override { return absl::OkStatus(); }
  absl::Status Copy(std::byte* to, const void* from, int64_t bytes, gpu::Stream) override {
    std::memcpy(to, from, static_cast<size_t>(bytes));
    return absl::OkStatus();
  }
  absl::Status AfterWrite(int, gpu::Stream) override { return absl::OkStatus(); }
  absl::Status Free() override { return absl::OkStatus(); }
  void Leak() override {}
};

class HostConsumer : public ConsumerTransport {
 public:
  TransportKind kind() const override { return TransportKind::kHost; }
  absl::Status Attach(RingMemory& ring, int, uint64_t) override {
    ring_ = &ring;
    return absl::OkStatus();
  }
  absl::StatusOr<const std::byte*> Payload(uint64_t, int slot) override {
    return ring_->host_payload(slot);
  }
  absl::Status BeforeRead(int, gpu::Stream) override { return absl::OkStatus(); }
  absl::Status AfterRead(gpu::Stream) override { return absl::OkStatus(); }
  bool IsCurrent(uint64_t) override { return true; }  // The segment outlives its producers.
  void CloseStale(absl::Duration) override {}
  absl::Status Detach(absl::Duration) override { return absl::OkStatus(); }

 private:
  RingMemory* ring_ = nullptr;
};

}  // namespace

std::unique_ptr<ProducerTransport> HostProducerTransport() {
  return std::make_unique<HostProducer>();
}
std::unique_ptr<ConsumerTransport> HostConsumerTransport() {
  return std::make_unique<HostConsumer>();
}

}  // namespace retort::ring
