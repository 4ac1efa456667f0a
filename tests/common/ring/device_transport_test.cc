// What is the device transport's alone: the order in streams, and when memory is opened and closed.
#include <thread>

#include "common/ring/payload_transport.h"
#include "common/ring/ring_fixture.h"
#include "gtest/gtest.h"

namespace retort::ring {
namespace {

using absl::StatusCode;
using gpu::Call;

class DeviceTransportTest : public testing::Test {
 protected:
  void TearDown() override { rig_.ExpectCleanGpus(); }
  gpu::FakeGpu& producer_gpu() { return rig_.producer_peer().gpu(); }
  gpu::FakeGpu& consumer_gpu() { return rig_.consumer_peer().gpu(); }
  // Puts a copy of the leased tensor into the consumer's stream.
  void CopyLater(const TensorLease& lease, std::vector<float>& to, gpu::Stream stream) {
    to.assign(1000, -1.0f);
    ASSERT_TRUE(consumer_gpu().Copy(to.data(), lease.data().data(), 4000, stream).ok());
  }

  RingFixture rig_{RingKinds()[3]};
};

TEST_F(DeviceTransportTest, Acquire_WriteNotDoneOnTheDevice_ReadsComeAfterIt) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  const std::vector<float> values(1000, 4.0f);
  producer_gpu().HoldStream(rig_.producer_stream());
  ASSERT_TRUE(
      producer->Write(RingFixture::HeaderFor(0), values.data(), rig_.producer_stream(), kNow).ok());
  auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok()) << "published before the device is done: " << lease.status();
  std::vector<float> read;
  CopyLater(*lease, read, rig_.consumer_stream());
  EXPECT_FALSE(consumer_gpu().IsIdle(rig_.consumer_stream()));
  EXPECT_EQ(read[0], -1.0f);
  producer_gpu().ReleaseStream(rig_.producer_stream());
  EXPECT_TRUE(consumer_gpu().IsIdle(rig_.consumer_stream()));
  EXPECT_EQ(read, values);
}

TEST_F(DeviceTransportTest, Acquire_LaterSlotNotDoneOnTheDevice_EarlierOneReadable) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  const std::vector<float> values(1000, 4.0f);
  producer_gpu().HoldStream(rig_.producer_stream());
  ASSERT_TRUE(
      producer->Write(RingFixture::HeaderFor(1), values.data(), rig_.producer_stream(), kNow).ok());
  {
    const auto lease = rig_.Get(*consumer, 0);
    ASSERT_TRUE(lease.ok());
    EXPECT_EQ(rig_.Read(*lease), Extremes(1, 1)) << "each slot has its own event";
  }
  producer_gpu().ReleaseStream(rig_.producer_stream());
}

TEST_F(DeviceTransportTest, Begin_ReadsNotDoneOnTheDevice_WritesComeAfterThem) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  ASSERT_TRUE(rig_.Put(*producer, 1, 1).ok());
  const gpu::Stream second = *consumer_gpu().CreateStream();
  auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok());
  std::vector<float> read;
  consumer_gpu().HoldStream(rig_.consumer_stream());
  CopyLater(*lease, read, rig_.consumer_stream());
  ASSERT_TRUE(lease->Release(rig_.consumer_stream()).ok());
  // A release in another stream does not hide the reads of the first.
  auto other = consumer->Acquire(RingFixture::Request(1), second);
  ASSERT_TRUE(other.ok()) << other.status();
  ASSERT_TRUE(other->Release(second).ok());

  const std::vector<float> values(1000, 9.0f);
  ASSERT_TRUE(
      producer->Write(RingFixture::HeaderFor(2), values.data(), rig_.producer_stream(), kNow).ok());
  EXPECT_FALSE(producer_gpu().IsIdle(rig_.producer_stream()));
  consumer_gpu().ReleaseStream(rig_.consumer_stream());
  EXPECT_TRUE(consumer_gpu().IsIdle(second));
  EXPECT_TRUE(producer_gpu().IsIdle(rig_.producer_stream()));
  EXPECT_EQ(read, std::vector<float>(1000, 1.0f)) << "the write overtook the read";
}

TEST_F(DeviceTransportTest, Begin_AbandonedWriteNotDoneOnTheDevice_NextComesAfterIt) {
  auto producer = rig_.Producer();
  const gpu::Stream second = *producer_gpu().CreateStream();
  const std::vector<float> old_values(1000, 1.0f), values(1000, 2.0f);
  producer_gpu().HoldStream(rig_.producer_stream());
  {
    auto write = producer->Begin(0, rig_.producer_stream(), kNow);
    ASSERT_TRUE(write.ok());
    ASSERT_TRUE(
        producer_gpu().Copy(write->data(), old_values.data(), 4000, rig_.producer_stream()).ok());
  }
  ASSERT_TRUE(producer->Write(RingFixture::HeaderFor(0), values.data(), second, kNow).ok());
  EXPECT_FALSE(producer_gpu().IsIdle(second));
  producer_gpu().ReleaseStream(rig_.producer_stream());
  EXPECT_TRUE(producer_gpu().IsIdle(second));
  auto consumer = rig_.Consumer();
  const auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(rig_.Read(*lease), Extremes(2, 2));
}

TEST_F(DeviceTransportTest, Acquire_Often_OpensTheMemoryOnceForAGeneration) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  for (int64_t sequence = 0; sequence < 10; ++sequence) {
    ASSERT_TRUE(rig_.Put(*producer, sequence, 1).ok());
    ASSERT_TRUE(rig_.Get(*consumer, sequence).ok());
  }
  EXPECT_EQ(producer_gpu().calls(Call::kAllocate), 1);
  EXPECT_EQ(producer_gpu().calls(Call::kExport), 1);
  EXPECT_EQ(consumer_gpu().calls(Call::kOpenMemory), 1);
  EXPECT_EQ(producer_gpu().calls(Call::kOpenEvent), 1) << "the consumer's, once";
}

TEST_F(DeviceTransportTest, Acquire_InTheProducersProcess_OpensNoHandle) {
  auto producer = rig_.Producer();
  auto consumer = rig_.TryConsumer(rig_.producer_peer());
  ASSERT_TRUE(consumer.ok());
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  {
    auto write = producer->Begin(1, rig_.producer_stream(), kNow);
    ASSERT_TRUE(write.ok());
    const auto lease = (*consumer)->Acquire(RingFixture::Request(0), rig_.producer_stream());
    ASSERT_TRUE(lease.ok()) << lease.status();
    EXPECT_EQ(lease->data().data() + 4096, write->data()) << "the producer's own address";
  }
  EXPECT_EQ(producer_gpu().calls(Call::kOpenMemory), 0);
  EXPECT_EQ(producer_gpu().calls(Call::kOpenEvent), 0);
  consumer->reset();
}

TEST_F(DeviceTransportTest, Acquire_NewGeneration_ClosesTheOldMemoryAndOpensTheNew) {
  auto old_producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*old_producer, 0, 1).ok());
  ASSERT_TRUE(rig_.Get(*consumer, 0).ok());
  auto producer = rig_.TryProducer(rig_.producer_peer(), 2);
  ASSERT_TRUE(producer.ok());
  ASSERT_TRUE(rig_.Put(**producer, 0, 2).ok());
  {
    const auto lease = rig_.Get(*consumer, 0);
    ASSERT_TRUE(lease.ok()) << lease.status();
    EXPECT_EQ(rig_.Read(*lease), Extremes(2, 2));
  }
  EXPECT_EQ(consumer_gpu().open_memories(), 1);
  EXPECT_EQ(consumer_gpu().calls(Call::kCloseMemory), 1);
  EXPECT_TRUE(old_producer->Close(kNow).ok()) << "nobody has its memory open";
  consumer.reset();
}

TEST_F(DeviceTransportTest, Acquire_LeaseOfTheOldGenerationOut_FailedPreconditionAndStaysOpen) {
  auto old_producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*old_producer, 0, 1).ok());
  auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok());
  auto producer = rig_.TryProducer(rig_.producer_peer(), 2);
  ASSERT_TRUE(producer.ok());
  EXPECT_FALSE(lease->StillHolds());
  EXPECT_TRUE(rig_.Put(**producer, 0, 2).ok()) << "a lease of other memory holds up nobody";
  ASSERT_TRUE(rig_.Put(**producer, 1, 2).ok());
  EXPECT_EQ(rig_.Get(*consumer, 1).status().code(), StatusCode::kFailedPrecondition);
  const absl::Status closed = old_producer->Close(absl::Milliseconds(1));
  EXPECT_EQ(closed.code(), StatusCode::kDeadlineExceeded) << "the memory is still read";
  ASSERT_TRUE(lease->Release(rig_.consumer_stream()).ok());
  EXPECT_TRUE(rig_.Get(*consumer, 1).ok());
  consumer.reset();
  producer->reset();
  EXPECT_EQ(producer_gpu().allocations(), 1) << "what Close could not free stays";
  EXPECT_TRUE(producer_gpu().misuses().empty());
  old_producer.reset();
  rig_.producer_peer().EndGpu();
}

TEST_F(DeviceTransportTest, Close_ConsumerHasTheMemoryOpen_WaitsUntilItIsClosed) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  ASSERT_TRUE(rig_.Get(*consumer, 0).ok());
  absl::Status status = absl::UnknownError("not yet");
  std::thread closer([&] { status = producer->Close(kLong); });
  consumer.reset();
  closer.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(producer_gpu().allocations(), 0);
}

TEST_F(DeviceTransportTest, Close_ConsumerDiedWithTheMemoryOpen_Frees) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  ASSERT_TRUE(rig_.Get(*consumer, 0).ok());
  Bury(std::move(consumer));
  rig_.consumer_process().Kill();
  EXPECT_TRUE(producer->Close(kNow).ok());
  EXPECT_EQ(producer_gpu().allocations(), 0);
  rig_.consumer_peer().EndGpu();
}

TEST_F(DeviceTransportTest, ConsumerEnds_ReadsUnderWay_WaitsForThem) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  std::vector<float> read;
  {
    const auto lease = rig_.Get(*consumer, 0);
    ASSERT_TRUE(lease.ok());
    consumer_gpu().HoldStream(rig_.consumer_stream());
    CopyLater(*lease, read, rig_.consumer_stream());
  }
  std::thread ender([&] { consumer.reset(); });
  consumer_gpu().ReleaseStream(rig_.consumer_stream());
  ender.join();
  EXPECT_EQ(read[0], 1.0f);
}

}  // namespace
}  // namespace retort::ring
