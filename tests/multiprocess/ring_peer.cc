// A producer or consumer of a tensor ring in a process of its own, for ring_kill_test: does a few
// tensors and ends, unless a failpoint ends it before. Exit status: 0 all went well, 1 something
// did not (standard error says what).
#include "multiprocess/ring_peer.h"

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"
#include "common/ring/broker_client.h"
#include "common/ring/tensor_ring.h"
#include "common/ring/tensor_ring_consumer.h"
#include "testing/fake_gpu.h"

ABSL_FLAG(std::string, role, "producer", "producer or consumer");
ABSL_FLAG(std::string, transport, "host", "host or device");
ABSL_FLAG(std::string, socket, "", "the broker's socket");
ABSL_FLAG(std::string, token, "", "the broker's token");
ABSL_FLAG(int, epoch, 1, "producer: its epoch");
ABSL_FLAG(int64_t, first, 0, "first tensor");
ABSL_FLAG(int, count, 2, "tensors");
ABSL_FLAG(std::vector<std::string>, failpoint, {}, "see common/base/failpoint.h");

namespace retort::ring {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);

absl::Status Produce(Segment segment, const TensorRingShape& shape, gpu::FakeGpu& gpu) {
  const bool device = shape.transport == TransportKind::kDeviceIpc;
  const gpu::Stream stream = device ? *gpu.CreateStream() : nullptr;
  ProducerOptions options;
  options.epoch = static_cast<uint64_t>(absl::GetFlag(FLAGS_epoch));
  RETORT_ASSIGN_OR_RETURN(const std::unique_ptr<TensorRingProducer> ring,
                          TensorRingProducer::Open(
                              std::move(segment), shape, options,
                              device ? DeviceProducerTransport(&gpu, 0) : HostProducerTransport()));
  for (int i = 0; i < absl::GetFlag(FLAGS_count); ++i) {
    const int64_t sequence = absl::GetFlag(FLAGS_first) + i;
    const std::vector<float> values = PeerValues(sequence);
    RETORT_RETURN_IF_ERROR(ring->Write(PeerHeader(sequence), values.data(), stream, kLong));
  }
  // Where a test lets it stop, so that what it wrote is read before its generation ends.
  RETORT_RETURN_IF_ERROR(Failpoint("peer.written"));
  return ring->Close(kLong);
}

absl::Status Consume(Segment segment, const TensorRingShape& shape, gpu::FakeGpu& gpu) {
  const bool device = shape.transport == TransportKind::kDeviceIpc;
  const gpu::Stream stream = device ? *gpu.CreateStream() : nullptr;
  RETORT_ASSIGN_OR_RETURN(
      const std::unique_ptr<TensorRingConsumer> ring,
      TensorRingConsumer::Open(std::move(segment), {},
                               device ? DeviceConsumerTransport(&gpu, 0) : HostConsumerTransport(),
                               kLong));
  std::vector<TensorLease> leases;  // All at once: what a death leaves must be freed slot by slot.
  for (int i = 0; i < absl::GetFlag(FLAGS_count); ++i) {
    TensorRequest request;
    request.sequence = absl::GetFlag(FLAGS_first) + i;
    request.timeout = kLong;
    RETORT_ASSIGN_OR_RETURN(TensorLease lease, ring->Acquire(request, stream));
    leases.push_back(std::move(lease));
  }
  return absl::OkStatus();
}

int Main() {
  RETORT_CHECK(ArmFailpoints(absl::GetFlag(FLAGS_failpoint)).ok());
  const TensorRingShape shape = PeerShape(absl::GetFlag(FLAGS_transport) == "device");
  gpu::FakeGpu gpu;
  auto segment = OpenSegment({absl::GetFlag(FLAGS_socket), absl::GetFlag(FLAGS_token)}, "ring",
                             TensorRingBytes(shape), Access::kReadWrite, kLong);
  absl::Status status = segment.status();
  if (status.ok()) {
    status = absl::GetFlag(FLAGS_role) == "producer" ? Produce(*std::move(segment), shape, gpu)
                                                     : Consume(*std::move(segment), shape, gpu);
  }
  if (status.ok() && !gpu.misuses().empty()) status = absl::InternalError(gpu.misuses().front());
  if (!status.ok()) std::fprintf(stderr, "ring_peer: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace retort::ring

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return retort::ring::Main();
}
