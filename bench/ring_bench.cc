// Tensors through the ring's host transport.
//   build/bench/ring_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only
// Write   a tensor of that many MiB into a slot, and in turns one core's memcpy of the same bytes
//         between ordinary memory. `ratio` is the ring's speed by memcpy's; the target is 0.8.
// Lease   a consumer's Acquire and Release of a tensor that is there. It reads in place, so the
//         size does not matter.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "common/base/check.h"
#include "common/base/random_id.h"
#include "common/ring/broker_client.h"
#include "common/ring/fd_broker.h"
#include "common/ring/tensor_ring.h"
#include "common/ring/tensor_ring_consumer.h"

namespace retort::ring {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

class Ring {
 public:
  explicit Ring(int64_t slot_bytes) : shape_{.slots = 2, .slot_bytes = slot_bytes} {
    auto broker = FdBroker::Start({.socket = address_.socket, .token = address_.token});
    RETORT_CHECK(broker.ok()) << broker.status().ToString();
    broker_ = *std::move(broker);
    auto producer = TensorRingProducer::Open(Map(), shape_, {}, HostProducerTransport());
    RETORT_CHECK(producer.ok()) << producer.status().ToString();
    producer_ = *std::move(producer);
    auto consumer = TensorRingConsumer::Open(Map(), {}, HostConsumerTransport(), absl::Seconds(5));
    RETORT_CHECK(consumer.ok()) << consumer.status().ToString();
    consumer_ = *std::move(consumer);
  }

  void Write(int64_t sequence, const std::vector<float>& values) {
    const TensorHeader header =
        MakeTensorHeader(0, sequence, Dtype::kFloat32, {static_cast<int64_t>(values.size())});
    const absl::Status status =
        producer_->Write(header, values.data(), /*stream=*/nullptr, absl::Seconds(5));
    RETORT_CHECK(status.ok()) << status.ToString();
  }
  void Lease(int64_t sequence) {
    TensorRequest request;
    request.sequence = sequence;
    const auto lease = consumer_->Acquire(request, /*stream=*/nullptr);
    RETORT_CHECK(lease.ok()) << lease.status().ToString();
    benchmark::DoNotOptimize(lease->data().data());
  }

 private:
  Segment Map() {
    auto segment = OpenSegment(address_, "bench", TensorRingBytes(shape_), Access::kReadWrite,
                               absl::Seconds(5));
    RETORT_CHECK(segment.ok()) << segment.status().ToString();
    return *std::move(segment);
  }

  const TensorRingShape shape_;
  const BrokerAddress address_{"retort-bench-" + RandomHex(8), RandomHex(16)};
  std::unique_ptr<FdBroker> broker_;
  std::unique_ptr<TensorRingProducer> producer_;
  std::unique_ptr<TensorRingConsumer> consumer_;
};

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void Write(benchmark::State& state) {
  const int64_t bytes = state.range(0) * kMiB;
  Ring ring(bytes);
  const std::vector<float> from(static_cast<size_t>(bytes) / sizeof(float), 0.5f);
  std::vector<float> to(from.size(), 0.0f);
  int64_t sequence = 0;
  while (sequence < 2) ring.Write(sequence++, from);  // The first touch takes the pages.
  double ring_seconds = 0, memcpy_seconds = 0;
  for (auto _ : state) {
    memcpy_seconds += Seconds([&] {
      std::memcpy(to.data(), from.data(), static_cast<size_t>(bytes));
      benchmark::DoNotOptimize(to.data());
    });
    const double one = Seconds([&] { ring.Write(sequence++, from); });
    ring_seconds += one;
    state.SetIterationTime(one);
  }
  const double gigabytes =
      static_cast<double>(bytes) * static_cast<double>(state.iterations()) / 1e9;
  state.counters["ring_GB/s"] = gigabytes / ring_seconds;
  state.counters["memcpy_GB/s"] = gigabytes / memcpy_seconds;
  state.counters["ratio"] = memcpy_seconds / ring_seconds;
}
BENCHMARK(Write)->Arg(64)->Arg(128)->Arg(256)->Arg(512)->UseManualTime()->Unit(
    benchmark::kMillisecond);

void Lease(benchmark::State& state) {
  Ring ring(kMiB);
  ring.Write(0, std::vector<float>(kMiB / sizeof(float), 0.5f));
  for (auto _ : state) ring.Lease(0);
}
BENCHMARK(Lease)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace retort::ring

BENCHMARK_MAIN();
