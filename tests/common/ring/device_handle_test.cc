// Handles of device memory between processes, and what goes wrong with them.
#include <functional>

#include "common/ring/payload_transport.h"
#include "common/ring/ring_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::ring {
namespace {

using absl::StatusCode;
using gpu::Call;
using ::testing::HasSubstr;

// Nothing may be left leased, declared open or allocated.
class HandleFaultTest : public testing::Test {
 protected:
  void TearDown() override { rig_.ExpectCleanGpus(); }
  gpu::FakeGpu& producer_gpu() { return rig_.producer_peer().gpu(); }
  gpu::FakeGpu& consumer_gpu() { return rig_.consumer_peer().gpu(); }
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

  RingFixture rig_{RingKinds()[3]};
};

TEST_F(HandleFaultTest, StaleMemoryHandle_FailedPreconditionNamesTheProducer) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  gpu::MemoryHandle good;
  Republish([&](RingExport& e) {
    good = e.handle;
    e.handle = gpu::FakeGpu::StaleMemory();
  });
  const absl::Status status = rig_.Get(*consumer, 0).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
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
  EXPECT_EQ(rig_.Get(*consumer, 0).status().code(), StatusCode::kFailedPrecondition);
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

// An invalid argument would be taken for a mistake in the job.
TEST_F(HandleFaultTest, RunTimeRefusesPeersHandles_NotTheCallersArguments) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  producer_gpu().FailCall(Call::kOpenEvent, 1, absl::InvalidArgumentError("planted"));
  EXPECT_EQ(rig_.Put(*producer, 0, 1).code(), StatusCode::kInternal);
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  for (const Call call : {Call::kOpenMemory, Call::kOpenEvent}) {
    consumer_gpu().FailCall(call, 1, absl::InvalidArgumentError("planted"));
    const absl::Status status = rig_.Get(*consumer, 0).status();
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(Text(status), HasSubstr("planted"));
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
  ASSERT_TRUE(rig_.Get(*consumer, 0).ok());
  Bury(std::move(consumer));
  rig_.consumer_process().Kill();
  rig_.consumer_peer().EndGpu();
  const int64_t waits = producer_gpu().calls(Call::kStreamWait);
  EXPECT_TRUE(rig_.Put(*producer, 2, 1).ok());
  EXPECT_EQ(producer_gpu().calls(Call::kStreamWait) - waits, 1) << "for the slot's own event";
  EXPECT_EQ(producer_gpu().events(), 2) << "those of the slots; the consumer's is closed";
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
