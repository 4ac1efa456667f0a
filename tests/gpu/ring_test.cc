// The ring of device memory between two real processes, one of which is killed.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/base/status_macros.h"
#include "common/ring/broker_client.h"
#include "common/ring/fd_broker.h"
#include "common/ring/tensor_ring_consumer.h"
#include "gpu/gpu_children.h"
#include "gpu/gpu_environment.h"
#include "multiprocess/child_process.h"

namespace retort::gpu {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);

absl::Status Produce(const ring::BrokerAddress& broker, int epoch, int count) {
  Api* const api = TestGpu()->plugin.api;
  RETORT_ASSIGN_OR_RETURN(ring::Segment segment,
                          ring::OpenSegment(broker, "ring", ring::TensorRingBytes(TestRing()),
                                            ring::Access::kReadWrite, kLong));
  ring::ProducerOptions options;
  options.epoch = static_cast<uint64_t>(epoch);
  RETORT_ASSIGN_OR_RETURN(
      const std::unique_ptr<ring::TensorRingProducer> ring,
      ring::TensorRingProducer::Open(std::move(segment), TestRing(), options,
                                     ring::DeviceProducerTransport(api, TestGpu()->info.index)));
  RETORT_ASSIGN_OR_RETURN(void* const memory, api->Allocate(TestRing().slot_bytes));
  const at::Tensor values =
      at::for_blob(memory, {TestRingElements()})
          .options(at::TensorOptions().dtype(at::kFloat).device(TestGpu()->device))
          .target_device(TestGpu()->device)
          .make_tensor();
  for (int i = 0; i < count; ++i) {
    values.fill_(static_cast<float>(epoch + i));
    const absl::Time start = absl::Now();
    RETORT_RETURN_IF_ERROR(
        ring->Write(ring::MakeTensorHeader(0, i, ring::Dtype::kFloat32, {TestRingElements()}),
                    memory, api->CurrentStream(), kLong));
    std::printf("published 64 MiB in %.3f ms\n", absl::ToDoubleMilliseconds(absl::Now() - start));
  }
  std::printf("written\n");
  std::fflush(stdout);
  // Until it is killed, or the test has ended.
  for (char byte; read(STDIN_FILENO, &byte, 1) > 0;) {
  }
  pause();
  return absl::OkStatus();
}

class RingTest : public GpuTest {
 protected:
  void SetUp() override {
    auto broker = ring::FdBroker::Start({.socket = address_.socket, .token = address_.token});
    ASSERT_TRUE(broker.ok()) << broker.status();
    broker_ = *std::move(broker);
  }
  std::unique_ptr<ChildProcess> StartProducer(int epoch, int count) {
    return std::make_unique<ChildProcess>(
        std::vector<std::string>{ExecutablePath(), "ring-producer", address_.socket, address_.token,
                                 absl::StrCat(epoch), absl::StrCat(count)});
  }
  static std::string ExecutablePath() { return ExecutableDirectory() + "/retort-gpu-test"; }
  std::unique_ptr<ring::TensorRingConsumer> MakeConsumer() {
    auto segment = ring::OpenSegment(address_, "ring", ring::TensorRingBytes(TestRing()),
                                     ring::Access::kReadWrite, kLong);
    EXPECT_TRUE(segment.ok()) << segment.status();
    auto consumer = ring::TensorRingConsumer::Open(
        *std::move(segment), {}, ring::DeviceConsumerTransport(&api(), gpu().info.index), kLong);
    EXPECT_TRUE(consumer.ok()) << consumer.status();
    return *std::move(consumer);
  }
  // First and last element of a tensor, read in place.
  absl::StatusOr<std::pair<float, float>> Ends(ring::TensorRingConsumer& consumer, int64_t sequence,
                                               uint64_t epoch, bool await_successor = false) {
    RETORT_ASSIGN_OR_RETURN(ring::TensorLease lease,
                            consumer.Acquire({.sequence = sequence,
                                              .min_epoch = epoch,
                                              .timeout = kLong,
                                              .await_successor = await_successor},
                                             api().CurrentStream()));
    const at::Tensor tensor =
        at::for_blob(const_cast<std::byte*>(lease.data().data()), {TestRingElements()})
            .options(at::TensorOptions().dtype(at::kFloat).device(gpu().device))
            .target_device(gpu().device)
            .make_tensor();
    const std::pair<float, float> ends = {tensor[0].item<float>(), tensor[-1].item<float>()};
    EXPECT_TRUE(lease.StillHolds());
    RETORT_RETURN_IF_ERROR(lease.Release(api().CurrentStream()));
    return ends;
  }

  const ring::BrokerAddress address_{"retort-gpu-test-" + RandomHex(8), RandomHex(16)};
  std::unique_ptr<ring::FdBroker> broker_;
};

TEST_F(RingTest, ProducerInAnotherProcess_ReadInPlace_KilledAndReplaced) {
  auto producer = StartProducer(/*epoch=*/1, /*count=*/2);
  const auto consumer = MakeConsumer();
  for (int i = 0; i < 2; ++i) {
    const auto ends = Ends(*consumer, i, 1);
    ASSERT_TRUE(ends.ok()) << ends.status();
    EXPECT_EQ(*ends, std::make_pair(1.0f + i, 1.0f + i));
  }
  kill(producer->pid(), SIGKILL);
  EXPECT_EQ(producer->Wait(), 128 + SIGKILL);
  EXPECT_TRUE(absl::IsUnavailable(Ends(*consumer, 2, 1).status()));

  auto successor = StartProducer(/*epoch=*/5, /*count=*/1);
  const auto ends = Ends(*consumer, 0, 5, /*await_successor=*/true);
  ASSERT_TRUE(ends.ok()) << ends.status();
  EXPECT_EQ(*ends, std::make_pair(5.0f, 5.0f));
  kill(successor->pid(), SIGKILL);
  successor->Wait();
  std::printf("%s", successor->output().c_str());
}

}  // namespace

int RingProducerMain(int argc, char** argv) {
  int epoch = 0, count = 0;
  RETORT_CHECK(argc == 4 && absl::SimpleAtoi(argv[2], &epoch) && absl::SimpleAtoi(argv[3], &count))
      << "ring-producer SOCKET TOKEN EPOCH COUNT";
  const absl::Status status = Produce({argv[0], argv[1]}, epoch, count);
  if (!status.ok()) std::fprintf(stderr, "ring-producer: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace retort::gpu
