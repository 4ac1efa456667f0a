// What is the device transport's alone: order in streams, handles between processes, their faults.
#include <thread>

#include "common/ring/payload_transport.h"
#include "common/ring/ring_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::ring {
namespace {

using absl::StatusCode;
using gpu::Call;
using ::testing::HasSubstr;
using Extremes = std::pair<float, float>;

std::string Text(const absl::Status& status) { return std::string(status.message()); }

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

// Handles and what goes wrong with them. Nothing may be left leased, declared open or allocated.
class HandleFaultTest : public DeviceTransportTest {
 protected:
  void ExpectNothingHeld() {
    EXPECT_EQ(rig_.Leases(), 0);
    const auto memory = *RingMemory::Join(rig_.memory().Map(), kNow);
    for (int entry = 0; entry < rig_.shape().max_consumers; ++entry) {
      EXPECT_EQ(memory->Load({Word::kOpened, 0, entry}), 0u);
    }
    EXPECT_EQ(consumer_gpu().open_memories(), 0);
  }
  // Changes what the producer has published.
  void Republish(const std::function<void(RingExport&)>& change) {
    const auto memory = *RingMemory::Join(rig_.memory().Map(), kNow);
    RingExport exported = memory->exported().Load();
    change(exported);
    memory->exported().Store(exported);
  }
};

TEST_F(HandleFaultTest, StaleMemoryHandle_InvalidArgumentNamesTheProducer) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  gpu::MemoryHandle good;
  Republish([&](RingExport& e) {
    good = e.handle;
    e.handle = gpu::FakeGpu::StaleMemory();
  });
  const absl::Status status = rig_.Get(*consumer, 0).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(Text(status), HasSubstr(absl::StrCat("opening the device memory of process ",
                                                   rig_.producer_peer().process().pid)));
  ExpectNothingHeld();
  Republish([&](RingExport& e) { e.handle = good; });
  EXPECT_TRUE(rig_.Get(*consumer, 0).ok());
  consumer.reset();
}

TEST_F(HandleFaultTest, StaleEventHandle_FailsAndClosesTheMemory) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  const auto memory = *RingMemory::Join(rig_.memory().Map(), kNow);
  EventRecord record = memory->slot(1).written.Load();
  record.handle = gpu::FakeGpu::StaleEvent();
  memory->slot(1).written.Store(record);
  EXPECT_EQ(rig_.Get(*consumer, 0).status().code(), StatusCode::kInvalidArgument);
  ExpectNothingHeld();
  EXPECT_EQ(consumer_gpu().events(), 1) << "its own; those it had opened are closed";
}

TEST_F(HandleFaultTest, ExportThatDoesNotFitTheRing_DataLoss) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  for (const auto& change : std::vector<std::function<void(RingExport&)>>{
           [](RingExport& e) { e.bytes = 4096; }, [](RingExport& e) { e.slot_stride = 100; },
           [](RingExport& e) { e.slot_stride = int64_t{1} << 62; },
           [](RingExport& e) { std::memset(e.device_uuid, 'x', sizeof(e.device_uuid)); }}) {
    RingExport good;
    Republish([&](RingExport& e) {
      good = e;
      change(e);
    });
    EXPECT_EQ(rig_.Get(*consumer, 0).status().code(), StatusCode::kDataLoss);
    ExpectNothingHeld();
    Republish([&](RingExport& e) { e = good; });
  }
}

TEST_F(HandleFaultTest, OtherDeviceWithoutPeerAccess_FailedPreconditionSaysWhatToDo) {
  auto producer = rig_.Producer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  const auto acquire = [&](gpu::FakeGpuOptions options) {
    options.devices = {{0, "Other GPU", "GPU-other", 1 << 20}};
    Peer peer(&rig_.consumer_process(), std::move(options));
    auto consumer = rig_.TryConsumer(peer);
    EXPECT_TRUE(consumer.ok());
    return (*consumer)->Acquire(RingFixture::Request(0), peer.stream()).status();
  };
  const absl::Status unseen = acquire({});
  EXPECT_EQ(unseen.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(Text(unseen), HasSubstr("does not see that device"));
  EXPECT_THAT(Text(unseen), HasSubstr("CUDA_VISIBLE_DEVICES"));
  gpu::FakeGpuOptions seen;
  seen.other_devices = {gpu::kFakeUuid};
  const absl::Status no_peer = acquire(seen);
  EXPECT_EQ(no_peer.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(Text(no_peer), HasSubstr("no peer access"));
  seen.peers = {{"GPU-other", gpu::kFakeUuid}};
  EXPECT_TRUE(acquire(seen).ok());
  ExpectNothingHeld();
}

TEST_F(HandleFaultTest, OpenFails_ErrorOfTheRunTimeAndNextTryWorks) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  for (const Call call : {Call::kCanRead, Call::kOpenMemory, Call::kOpenEvent, Call::kStreamWait}) {
    consumer_gpu().FailCall(call, 1, absl::InternalError("planted"));
    const absl::Status status = rig_.Get(*consumer, 0).status();
    EXPECT_EQ(status.code(), StatusCode::kInternal) << static_cast<int>(call);
    EXPECT_EQ(rig_.Leases(), 0);
  }
  EXPECT_TRUE(rig_.Get(*consumer, 0).ok());
  consumer.reset();
}

TEST_F(HandleFaultTest, ProducerDiesBetweenExportAndOpen_Unavailable) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  Bury(std::move(producer));
  rig_.producer_process().Kill();
  rig_.producer_peer().EndGpu();  // Its handles fail, whatever the segment still says.
  const absl::Status status = rig_.Get(*consumer, 0).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
  EXPECT_EQ(consumer_gpu().calls(Call::kOpenMemory), 1);
  ExpectNothingHeld();
}

TEST_F(HandleFaultTest, ProducerOpen_CallsFail_NothingStaysAllocated) {
  for (const Call call : {Call::kAllocate, Call::kExport, Call::kCreateEvent, Call::kExportEvent}) {
    producer_gpu().FailCall(call, 1, absl::ResourceExhaustedError("planted"));
    EXPECT_EQ(rig_.TryProducer(rig_.producer_peer()).status().code(),
              StatusCode::kResourceExhausted);
    EXPECT_EQ(producer_gpu().allocations(), 0) << static_cast<int>(call);
    EXPECT_EQ(producer_gpu().events(), 0) << static_cast<int>(call);
  }
  EXPECT_TRUE(rig_.TryProducer(rig_.producer_peer()).ok());
}

TEST_F(HandleFaultTest, ConsumerOpen_CallsFail_EntryGivenBack) {
  auto producer = rig_.Producer();
  for (int i = 0; i < 5; ++i) {
    consumer_gpu().FailCall(i % 2 == 0 ? Call::kCreateEvent : Call::kExportEvent, 1,
                            absl::InternalError("planted"));
    EXPECT_EQ(rig_.TryConsumer(rig_.consumer_peer()).status().code(), StatusCode::kInternal);
  }
  EXPECT_TRUE(rig_.TryConsumer(rig_.consumer_peer()).ok()) << "the table has three entries";
}

TEST_F(HandleFaultTest, Begin_ConsumersEventFails_NamesItWhileItLivesAndIgnoresItDead) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  producer_gpu().FailCall(Call::kOpenEvent, 1, absl::InternalError("planted"));
  const absl::Status status = rig_.Put(*producer, 0, 1);
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_THAT(Text(status),
              HasSubstr(absl::StrCat("process ", rig_.consumer_peer().process().pid)));
  EXPECT_TRUE(rig_.Put(*producer, 0, 1).ok());
  // Held for ever, as the stream of a killed process.
  ASSERT_TRUE(rig_.Get(*consumer, 0).ok());
  Bury(std::move(consumer));
  rig_.consumer_process().Kill();
  rig_.consumer_peer().EndGpu();
  EXPECT_TRUE(rig_.Put(*producer, 2, 1).ok());
  EXPECT_TRUE(producer_gpu().IsIdle(rig_.producer_stream()));
}

TEST_F(HandleFaultTest, Write_CallsFail_SlotHoldsNothingAndNextWorks) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  for (const Call call : {Call::kStreamWait, Call::kCopy, Call::kRecord}) {
    producer_gpu().FailCall(call, 1, absl::InternalError("planted"));
    EXPECT_EQ(rig_.Put(*producer, 0, 1).code(), StatusCode::kInternal);
    EXPECT_EQ(rig_.Get(*consumer, 0).status().code(), StatusCode::kDeadlineExceeded);
    EXPECT_TRUE(rig_.Put(*producer, 0, 1).ok());
    EXPECT_TRUE(rig_.Get(*consumer, 0).ok());
  }
  consumer.reset();
}

TEST_F(HandleFaultTest, Release_RecordFails_LeaseGivenBackAllTheSame) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok());
  consumer_gpu().FailCall(Call::kRecord, 1, absl::InternalError("planted"));
  EXPECT_EQ(lease->Release(rig_.consumer_stream()).code(), StatusCode::kInternal);
  EXPECT_EQ(rig_.Leases(), 0);
}

}  // namespace
}  // namespace retort::ring
