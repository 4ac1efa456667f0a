// Who may open a ring, and as what, over both transports.
#include <functional>

#include "common/ring/ring_fixture.h"
#include "common/ring/tensor_ring.h"
#include "common/ring/tensor_ring_consumer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::ring {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

class TensorRingOpenTest : public RingTest {};

INSTANTIATE_TEST_SUITE_P(Kinds, TensorRingOpenTest, testing::ValuesIn(RingKinds()), RingKindName);

TEST_P(TensorRingOpenTest, ConsumerOpen_TableFull_ResourceExhausted) {
  auto producer = rig_.Producer();
  auto first = rig_.Consumer();
  auto second = rig_.Consumer();
  auto third = rig_.Consumer();
  const absl::Status status = rig_.TryConsumer(rig_.consumer_peer()).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(Text(status), HasSubstr("all 3 entries"));
  second.reset();
  EXPECT_TRUE(rig_.TryConsumer(rig_.consumer_peer()).ok());
}

TEST_P(TensorRingOpenTest, ProducerOpen_OlderEpoch_Aborted) {
  auto producer = rig_.TryProducer(rig_.producer_peer(), 5);
  ASSERT_TRUE(producer.ok());
  const absl::Status status = rig_.TryProducer(rig_.producer_peer(), 4).status();
  EXPECT_EQ(status.code(), StatusCode::kAborted);
  EXPECT_THAT(Text(status), HasSubstr("epoch 5; this one is of epoch 4"));
}

TEST_P(TensorRingOpenTest, ProducerOpen_NewerEpoch_OldOneAborted) {
  auto old_producer = rig_.Producer();
  auto write = old_producer->Begin(0, rig_.producer_stream(), kNow);
  ASSERT_TRUE(write.ok());
  auto producer = rig_.TryProducer(rig_.producer_peer(), 2);
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(producer.ok()) << producer.status();
  EXPECT_GT((*producer)->generation(), old_producer->generation());
  EXPECT_EQ(write->Commit(RingFixture::HeaderFor(0)).code(), StatusCode::kAborted);
  EXPECT_EQ(old_producer->Begin(1, rig_.producer_stream(), kNow).status().code(),
            StatusCode::kAborted);
  EXPECT_EQ(rig_.Get(*consumer, 0).status().code(), StatusCode::kDeadlineExceeded);
  ASSERT_TRUE(rig_.Put(**producer, 0, 2).ok());
  old_producer.reset();  // Ends its own generation only.
  EXPECT_EQ(rig_.Get(*consumer, 1).status().code(), StatusCode::kDeadlineExceeded)
      << "the ring has a producer";
  const auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(lease->header().epoch, 2u);
  EXPECT_EQ(rig_.Read(*lease), Extremes(2, 2));
}

TEST_P(TensorRingOpenTest, ProducerOpen_LivingProcessOfTheSameEpoch_Aborted) {
  auto producer = rig_.Producer();
  Bystander rival_process;
  Peer rival(&rival_process);
  const absl::Status status = rig_.TryProducer(rival, 1).status();
  EXPECT_EQ(status.code(), StatusCode::kAborted);
  EXPECT_THAT(Text(status), HasSubstr("lives"));
  EXPECT_TRUE(rig_.Put(*producer, 0, 1).ok()) << "the first one goes on";
}

TEST_P(TensorRingOpenTest, ProducerOpen_ShapesThatDoNotFit_Refused) {
  auto producer = rig_.Producer();
  const auto open = [&](TensorRingShape shape, int64_t bytes) {
    SealedMemory memory(bytes);
    return TensorRingProducer::Open(memory.Map(), shape,
                                    {.epoch = 1, .when_busy = BusyPolicy::kFail, .process = {}},
                                    rig_.ProducerSide(rig_.producer_peer()))
        .status()
        .code();
  };
  const TensorRingShape good = rig_.shape();
  EXPECT_EQ(open(good, TensorRingBytes(good) + 4096), StatusCode::kInvalidArgument);
  for (const auto& change : std::vector<std::function<void(TensorRingShape&)>>{
           [](auto& s) { s.slots = 0; }, [](auto& s) { s.slots = 1025; },
           [](auto& s) { s.slot_bytes = 0; }, [](auto& s) { s.slot_bytes = kMaxSlotBytes + 1; },
           [](auto& s) { s.max_consumers = -1; }, [](auto& s) { s.max_consumers = 65; },
           [](auto& s) { s.transport = static_cast<TransportKind>(3); }}) {
    TensorRingShape bad = good;
    change(bad);
    EXPECT_EQ(open(bad, TensorRingBytes(good)), StatusCode::kInvalidArgument);
  }
  TensorRingShape other = good;
  other.slot_bytes = 3999;  // The same segment size.
  ASSERT_EQ(TensorRingBytes(other), TensorRingBytes(good));
  EXPECT_EQ(TensorRingProducer::Open(rig_.memory().Map(), other,
                                     {.epoch = 2, .when_busy = BusyPolicy::kFail, .process = {}},
                                     rig_.ProducerSide(rig_.producer_peer()))
                .status()
                .code(),
            StatusCode::kFailedPrecondition);
}

TEST_P(TensorRingOpenTest, Open_TransportOfTheOtherKind_InvalidArgument) {
  auto producer = rig_.Producer();
  gpu::FakeGpu gpu;
  EXPECT_EQ(TensorRingConsumer::Open(
                rig_.memory().Map(), {},
                rig_.on_device() ? HostConsumerTransport() : DeviceConsumerTransport(&gpu, 0), kNow)
                .status()
                .code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(TensorRingProducer::Open(
                rig_.memory().Map(), rig_.shape(),
                {.epoch = 2, .when_busy = BusyPolicy::kFail, .process = {}},
                rig_.on_device() ? HostProducerTransport() : DeviceProducerTransport(&gpu, 0))
                .status()
                .code(),
            StatusCode::kInvalidArgument);
}

TEST_P(TensorRingOpenTest, ConsumerOpen_OtherPidNamespace_FailedPrecondition) {
  auto producer = rig_.Producer();
  const Segment raw = rig_.memory().Map();
  rig_.raw_header(raw).pid_namespace = 1;
  const absl::Status status = rig_.TryConsumer(rig_.consumer_peer()).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(Text(status), HasSubstr("PID namespace"));
}

TEST_P(TensorRingOpenTest, ConsumerOpen_NobodyProduces_DeadlineExceeded) {
  EXPECT_EQ(TensorRingConsumer::Open(rig_.memory().Map(), {},
                                     rig_.ConsumerSide(rig_.consumer_peer()), kNow)
                .status()
                .code(),
            StatusCode::kDeadlineExceeded);
}

TEST_P(TensorRingOpenTest, ConsumerOpen_RingHeaderDamaged_DataLoss) {
  auto producer = rig_.Producer();
  const Segment raw = rig_.memory().Map();
  RingHeader& header = rig_.raw_header(raw);
  const auto opens = [&] { return rig_.TryConsumer(rig_.consumer_peer()).status().code(); };
  ASSERT_EQ(opens(), StatusCode::kOk);
  const auto expect_loss = [&](auto& field, auto value) {
    const auto before = std::exchange(field, value);
    EXPECT_EQ(opens(), StatusCode::kDataLoss) << value;
    field = before;
  };
  for (const uint32_t slots : {0u, 300u, 0xffff'ffffu}) expect_loss(header.slots, slots);
  for (const uint32_t consumers : {999u, 0xffff'ffffu}) {
    expect_loss(header.max_consumers, consumers);
  }
  for (const int64_t bytes : {int64_t{-1}, int64_t{0}, int64_t{1} << 62}) {
    expect_loss(header.slot_bytes, bytes);
  }
  expect_loss(header.transport, 3u);
  expect_loss(header.format, 1u);
  EXPECT_EQ(opens(), StatusCode::kOk);
}

}  // namespace
}  // namespace retort::ring
