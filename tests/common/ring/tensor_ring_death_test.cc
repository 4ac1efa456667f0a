// What a death leaves to the others, over both transports, between processes.
#include <thread>

#include "common/ring/ring_fixture.h"
#include "common/ring/tensor_ring.h"
#include "common/ring/tensor_ring_consumer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::ring {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

class TensorRingDeathTest : public RingTest {};

INSTANTIATE_TEST_SUITE_P(Kinds, TensorRingDeathTest,
                         testing::Values(RingKinds()[1], RingKinds()[3]), RingKindName);

TEST_P(TensorRingDeathTest, Begin_LeaseOfADeadConsumer_Freed) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok());
  Bury(*std::move(lease));
  Bury(std::move(consumer));
  rig_.consumer_process().Kill();
  rig_.consumer_peer().EndGpu();
  EXPECT_EQ(rig_.Leases(), 1);
  EXPECT_TRUE(rig_.Put(*producer, 2, 2, kLong).ok());
  EXPECT_EQ(rig_.Leases(), 0);
}

TEST_P(TensorRingDeathTest, Begin_ConsumerDiesMeanwhile_GoesOn) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok());
  absl::Status status = absl::UnknownError("not yet");
  std::thread writer([&] { status = rig_.Put(*producer, 2, 2, kLong); });
  Bury(*std::move(lease));
  Bury(std::move(consumer));
  rig_.consumer_process().Kill();
  writer.join();
  rig_.consumer_peer().EndGpu();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(TensorRingDeathTest, ConsumerOpen_EntryOfADeadConsumer_Taken) {
  auto producer = rig_.Producer();
  Bystander dying;
  Peer dead_peer(&dying);
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  for (int i = 0; i < 3; ++i) {
    auto dead = rig_.TryConsumer(dead_peer);
    ASSERT_TRUE(dead.ok());
    auto lease = (*dead)->Acquire(RingFixture::Request(0), dead_peer.stream());
    ASSERT_TRUE(lease.ok());
    Bury(*std::move(lease));
    Bury(*std::move(dead));
  }
  ASSERT_EQ(rig_.TryConsumer(rig_.consumer_peer()).status().code(), StatusCode::kResourceExhausted);
  dying.Kill();
  auto consumer = rig_.Consumer();
  EXPECT_EQ(rig_.Leases(), 2) << "the taken entry's lease is gone";
  ASSERT_TRUE(rig_.Get(*consumer, 0).ok());
  EXPECT_TRUE(rig_.Put(*producer, 2, 2).ok());
}

TEST_P(TensorRingDeathTest, Acquire_ProducerDiesMeanwhile_Unavailable) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  absl::Status status;
  std::thread waiter([&] { status = rig_.Get(*consumer, 1, kLong).status(); });
  KillProducer(std::move(producer));
  waiter.join();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
  EXPECT_THAT(Text(status), HasSubstr("has ended"));
}

TEST_P(TensorRingDeathTest, Acquire_FullSlotOfADeadProducer_HostKeepsItDeviceVoid) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok());
  KillProducer(std::move(producer));
  EXPECT_EQ(lease->StillHolds(), !rig_.on_device());
  EXPECT_TRUE(lease->Release(rig_.consumer_stream()).ok());
  EXPECT_EQ(rig_.Get(*consumer, 0).status().code(),
            rig_.on_device() ? StatusCode::kUnavailable : StatusCode::kOk);
  EXPECT_EQ(rig_.Leases(), 0);
}

TEST_P(TensorRingDeathTest, Successor_ProducerDiedWriting_TakesOverAndReadersGoOn) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  ASSERT_TRUE(rig_.Put(*producer, 1, 1).ok());
  auto write = producer->Begin(2, rig_.producer_stream(), kNow);  // Slot 0.
  ASSERT_TRUE(write.ok());
  Bury(*std::move(write));
  KillProducer(std::move(producer));

  Bystander successor_process;
  Peer peer(&successor_process);
  absl::StatusOr<Extremes> seen = absl::UnknownError("not yet");
  std::thread waiter([&] {
    TensorRequest request = RingFixture::Request(2, kLong);
    request.await_successor = true;
    const auto lease = consumer->Acquire(request, rig_.consumer_stream());
    ASSERT_TRUE(lease.ok()) << lease.status();
    seen = rig_.Read(*lease);
  });
  auto successor = rig_.TryProducer(peer, 1);
  ASSERT_TRUE(successor.ok()) << successor.status();
  EXPECT_EQ(rig_.Get(*rig_.Consumer(), 1).ok(), !rig_.on_device()) << "what host memory held stays";
  const std::vector<float> values(1000, 7.0f);
  EXPECT_TRUE((*successor)
                  ->Write(RingFixture::HeaderFor(2), values.data(),
                          rig_.on_device() ? peer.stream() : nullptr, kLong)
                  .ok());
  waiter.join();
  EXPECT_EQ(seen.value(), Extremes(7, 7));
  EXPECT_EQ(rig_.Leases(), 0);
  consumer.reset();
  successor->reset();
  EXPECT_TRUE(peer.gpu().misuses().empty());
  EXPECT_EQ(peer.gpu().allocations(), 0);
}

TEST_P(TensorRingDeathTest, Commit_NewerEpochTookOver_AbortedAndTheSlotIsFree) {
  auto old_producer = rig_.Producer();
  auto write = old_producer->Begin(0, rig_.producer_stream(), kNow);
  ASSERT_TRUE(write.ok());
  Bystander successor_process;
  Peer peer(&successor_process);
  auto producer = rig_.TryProducer(peer, 2);
  ASSERT_TRUE(producer.ok());
  auto consumer = rig_.Consumer();
  EXPECT_EQ(write->Commit(RingFixture::HeaderFor(0)).code(), StatusCode::kAborted);
  EXPECT_EQ(rig_.Get(*consumer, 0).status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_TRUE((*producer)->Begin(0, rig_.on_device() ? peer.stream() : nullptr, kNow).ok());
  consumer.reset();
}

TEST_P(TensorRingDeathTest, Begin_OlderProducerLivesInTheSlot_WaitsUntilItIsDead) {
  auto old_producer = rig_.Producer();
  auto write = old_producer->Begin(0, rig_.producer_stream(), kNow);
  ASSERT_TRUE(write.ok());
  Bystander successor_process;
  Peer peer(&successor_process);
  const gpu::Stream stream = rig_.on_device() ? peer.stream() : nullptr;
  auto producer = rig_.TryProducer(peer, 2);
  ASSERT_TRUE(producer.ok());
  const absl::Status busy = (*producer)->Begin(0, stream, absl::Milliseconds(1)).status();
  EXPECT_EQ(busy.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(Text(busy), HasSubstr("an older producer"));
  EXPECT_TRUE((*producer)->Begin(1, stream, kNow).ok());
  Bury(*std::move(write));
  KillProducer(std::move(old_producer));
  EXPECT_TRUE((*producer)->Begin(0, stream, kLong).ok());
}

}  // namespace
}  // namespace retort::ring
