// The ring's contract, over both transports, within a process and between two.
#include "common/ring/tensor_ring.h"

#include <atomic>
#include <thread>

#include "common/ring/ring_fixture.h"
#include "common/ring/tensor_ring_consumer.h"
#include "common/ring/tensor_ring_observer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::ring {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

class TensorRingTest : public RingTest {};

INSTANTIATE_TEST_SUITE_P(Kinds, TensorRingTest, testing::ValuesIn(RingKinds()), RingKindName);

TEST_P(TensorRingTest, Acquire_WrittenTensor_PayloadAndHeader) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  EXPECT_EQ(consumer->shape(), rig_.shape());
  for (int64_t sequence = 0; sequence < 7; ++sequence) {
    const auto value = static_cast<float>(sequence);
    ASSERT_TRUE(rig_.Put(*producer, sequence, value).ok());
    auto lease = rig_.Get(*consumer, sequence);
    ASSERT_TRUE(lease.ok()) << lease.status();
    TensorHeader want = RingFixture::HeaderFor(sequence);
    want.epoch = 1;
    EXPECT_EQ(lease->header(), want);
    EXPECT_EQ(lease->data().size(), 4000u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(lease->data().data()) % 4096, 0u);
    EXPECT_EQ(rig_.Read(*lease), Extremes(value, value));
    EXPECT_TRUE(lease->StillHolds());
    EXPECT_TRUE(lease->Release(rig_.consumer_stream()).ok());
    EXPECT_FALSE(lease->StillHolds());
  }
  EXPECT_EQ(rig_.Leases(), 0);
}

TEST_P(TensorRingTest, Acquire_BeforeWrite_WaitsForIt) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  Extremes seen;
  std::thread waiter([&] {
    const auto lease = rig_.Get(*consumer, 5, kLong);
    ASSERT_TRUE(lease.ok()) << lease.status();
    seen = rig_.Read(*lease);
  });
  for (int64_t sequence = 3; sequence <= 5; ++sequence) {
    EXPECT_TRUE(rig_.Put(*producer, sequence, static_cast<float>(sequence)).ok());
  }
  waiter.join();
  EXPECT_EQ(seen, Extremes(5, 5));
}

TEST_P(TensorRingTest, Acquire_OtherTensorInTheSlot_DeadlineExceededSaysWhich) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  EXPECT_THAT(Text(rig_.Get(*consumer, 1).status()), HasSubstr("its slot holds nothing"));
  ASSERT_TRUE(rig_.Put(*producer, 3, 1).ok());
  const absl::Status status = rig_.Get(*consumer, 1).status();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(Text(status), HasSubstr("its slot holds tensor 3 of epoch 1"));
  EXPECT_EQ(rig_.Get(*consumer, -1).status().code(), StatusCode::kInvalidArgument);
  const absl::Status stale =
      consumer->Acquire(RingFixture::Request(3, kNow, 2), rig_.consumer_stream()).status();
  EXPECT_THAT(Text(stale), HasSubstr("of epoch 1, wanted epoch 2"));
}

TEST_P(TensorRingTest, Begin_LeasedSlotAndPolicyFail_NamesTheConsumerAndKeepsTheTensor) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  {
    const auto lease = rig_.Get(*consumer, 0);
    ASSERT_TRUE(lease.ok());
    EXPECT_TRUE(rig_.Put(*producer, 1, 2).ok()) << "the other slot is free";
    const absl::Status status = rig_.Put(*producer, 2, 3, absl::Milliseconds(1));
    EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
    EXPECT_THAT(Text(status),
                HasSubstr(absl::StrCat("process ", rig_.consumer_peer().process().pid, " reads")));
    EXPECT_TRUE(lease->StillHolds());
    EXPECT_EQ(rig_.Read(*lease), Extremes(1, 1));
  }
  EXPECT_TRUE(rig_.Get(*consumer, 0).ok()) << "the old tensor can be leased again";
  EXPECT_TRUE(rig_.Put(*producer, 2, 3).ok());
}

TEST_P(TensorRingTest, Begin_LeaseReleasedMeanwhile_GoesOn) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok());
  absl::Status status = absl::UnknownError("not yet");
  std::thread writer([&] { status = rig_.Put(*producer, 2, 3, kLong); });
  EXPECT_EQ(rig_.Read(*lease), Extremes(1, 1));
  EXPECT_TRUE(lease->Release(rig_.consumer_stream()).ok());
  writer.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(TensorRingTest, Begin_LeasedSlotAndPolicyRevoke_LeaseNoLongerHolds) {
  auto producer = rig_.Producer(BusyPolicy::kRevoke);
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok());
  ASSERT_TRUE(rig_.Put(*producer, 1, 2).ok());
  EXPECT_TRUE(lease->StillHolds());
  {
    const auto write = producer->Begin(2, rig_.producer_stream(), kNow);
    ASSERT_TRUE(write.ok()) << write.status();
    EXPECT_FALSE(lease->StillHolds());
  }
  ASSERT_TRUE(rig_.Put(*producer, 2, 3).ok());
  EXPECT_FALSE(lease->StillHolds());
  EXPECT_TRUE(lease->Release(rig_.consumer_stream()).ok());
  const auto next = rig_.Get(*consumer, 2);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(rig_.Read(*next), Extremes(3, 3));
}

TEST_P(TensorRingTest, SlotWrite_Abandoned_SlotHoldsNothing) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  { ASSERT_TRUE(producer->Begin(2, rig_.producer_stream(), kNow).ok()); }
  EXPECT_THAT(Text(rig_.Get(*consumer, 2).status()), HasSubstr("holds nothing"));
  EXPECT_THAT(Text(rig_.Get(*consumer, 0).status()), HasSubstr("holds nothing"));
  EXPECT_TRUE(rig_.Put(*producer, 2, 1).ok());
}

TEST_P(TensorRingTest, Commit_WrongHeaderOrTwice_Refused) {
  auto producer = rig_.Producer();
  auto write = producer->Begin(2, rig_.producer_stream(), kNow);
  ASSERT_TRUE(write.ok());
  EXPECT_EQ(write->capacity(), 4000);
  EXPECT_EQ(write->Commit(RingFixture::HeaderFor(4)).code(), StatusCode::kFailedPrecondition);
  TensorHeader large = MakeTensorHeader(0, 2, Dtype::kFloat32, {1001});
  EXPECT_EQ(write->Commit(large).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(write->Commit(RingFixture::HeaderFor(2)).ok());
  EXPECT_EQ(write->Commit(RingFixture::HeaderFor(2)).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(producer->Begin(-1, rig_.producer_stream(), kNow).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_P(TensorRingTest, Acquire_SlotLeasedByItself_FailedPrecondition) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  const auto lease = rig_.Get(*consumer, 0);
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(rig_.Get(*consumer, 0).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(lease->StillHolds()) << "and the lease is not lost";
  EXPECT_EQ(rig_.Leases(), 1);
  auto other = rig_.Consumer();
  EXPECT_TRUE(rig_.Get(*other, 0).ok()) << "another consumer leases the same slot";
}

TEST_P(TensorRingTest, ProducerClose_WaitingConsumer_Unavailable) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  ASSERT_TRUE(rig_.Get(*consumer, 0).ok());  // A device consumer has the memory open.
  absl::Status status;
  std::thread waiter([&] { status = rig_.Get(*consumer, 1, kLong).status(); });
  EXPECT_TRUE(producer->Close(kLong).ok());
  waiter.join();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
  EXPECT_EQ(producer->Begin(1, rig_.producer_stream(), kNow).status().code(),
            StatusCode::kFailedPrecondition);
}

TEST_P(TensorRingTest, Acquire_SlotHeaderDamaged_DataLossAndNoLeaseLeft) {
  auto producer = rig_.Producer();
  auto consumer = rig_.Consumer();
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  const auto memory = *RingMemory::Join(rig_.memory().Map(), kNow);
  const SlotRecord good = memory->slot(0).record.Load();
  for (const auto& damage : std::vector<std::function<void(SlotRecord&)>>{
           [](auto& r) { r.dimensions = 9; }, [](auto& r) { r.annotation_bytes = 513; },
           [](auto& r) { r.annotation_bytes = uint64_t{1} << 40; }, [](auto& r) { r.dtype = 7; },
           [](auto& r) { r.bytes = 4004; }, [](auto& r) { r.shape[0] = -10; },
           [](auto& r) { r.shape[0] = int64_t{1} << 61; },
           [](auto& r) { r.shape[1] = 101, r.bytes = 4040; }, [](auto& r) { r.step = -1; }}) {
    SlotRecord bad = good;
    damage(bad);
    memory->slot(0).record.Store(bad);
    EXPECT_EQ(rig_.Get(*consumer, 0).status().code(), StatusCode::kDataLoss);
  }
  memory->slot(0).record.Store(good);
  EXPECT_TRUE(rig_.Get(*consumer, 0).ok());
  EXPECT_EQ(rig_.Leases(), 0);
}

TEST_P(TensorRingTest, Observer_ReadOnlyMapping_SeesWhatIsWritten) {
  auto producer = rig_.Producer();
  const auto observer = TensorRingObserver::Open(rig_.memory().Map(Access::kReadOnly), kNow);
  ASSERT_TRUE(observer.ok());
  ASSERT_TRUE(rig_.Put(*producer, 0, 1).ok());
  const auto view = observer->Observe(RingFixture::Request(0));
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->header.annotation, "note 0");
  EXPECT_EQ(view->data.size(), rig_.on_device() ? 0u : 4000u);
  EXPECT_TRUE(observer->StillHolds(*view));
  ASSERT_TRUE(rig_.Put(*producer, 2, 1).ok()) << "no producer waits for an observer";
  EXPECT_FALSE(observer->StillHolds(*view));
}

// Tensors go round by several threads; what a lease covers is whole, and nothing is skipped.
TEST_P(TensorRingTest, Threads_ManyTensors_EachReadWholeByEach) {
  constexpr int64_t kTensors = 300;
  auto producer = rig_.Producer();
  std::vector<std::unique_ptr<TensorRingConsumer>> consumers;
  for (int i = 0; i < 3; ++i) consumers.push_back(rig_.Consumer());
  std::vector<std::atomic<int64_t>> read(3);
  std::vector<std::thread> readers;
  for (size_t i = 0; i < 3; ++i) {
    readers.emplace_back([&, i] {
      for (int64_t sequence = 0; sequence < kTensors; ++sequence) {
        const auto lease = rig_.Get(*consumers[i], sequence, kLong);
        ASSERT_TRUE(lease.ok()) << lease.status();
        const auto want = static_cast<float>(sequence);
        EXPECT_EQ(rig_.Read(*lease), Extremes(want, want));
        EXPECT_TRUE(lease->StillHolds());
        read[i] = sequence + 1;
      }
    });
  }
  for (int64_t sequence = 0; sequence < kTensors; ++sequence) {
    // A slot that nobody has leased yet may be overwritten: wait until all have read its tensor.
    for (const auto& done : read) {
      while (done < sequence - 1) std::this_thread::yield();
    }
    ASSERT_TRUE(rig_.Put(*producer, sequence, static_cast<float>(sequence), kLong).ok());
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(rig_.Leases(), 0);
}

// A producer laps observers; a header that they are given is of one tensor.
TEST_P(TensorRingTest, Threads_LappedObserver_HeaderIsOfOneTensor) {
  constexpr int64_t kTensors = 10'000;
  auto producer = rig_.Producer();
  const auto header = [](int64_t sequence) {
    return MakeTensorHeader(sequence, sequence, Dtype::kUint8, {1},
                            std::string(512, static_cast<char>('a' + sequence % 26)));
  };
  std::atomic<int64_t> newest{-1};
  int64_t seen = 0;
  std::thread reader([&] {
    const auto observer = *TensorRingObserver::Open(rig_.memory().Map(Access::kReadOnly), kLong);
    while (newest < kTensors - 1 || seen == 0) {
      // The one that is overwritten next; at the end the last one.
      const int64_t sequence = newest < kTensors - 1 ? newest - 1 : newest.load();
      if (sequence < 0) continue;
      const auto view = observer.Observe(RingFixture::Request(sequence));
      if (!view.ok()) {
        EXPECT_EQ(view.status().code(), StatusCode::kDeadlineExceeded) << view.status();
        continue;
      }
      ++seen;
      ASSERT_EQ(view->header.annotation, header(sequence).annotation);
    }
  });
  const char byte = 0;
  for (int64_t sequence = 0; sequence < kTensors; ++sequence) {
    EXPECT_TRUE(producer->Write(header(sequence), &byte, rig_.producer_stream(), kNow).ok());
    newest = sequence;
  }
  reader.join();
  EXPECT_GT(seen, 0);
}

// A producer that does not wait laps its readers: what StillHolds vouches for is whole.
TEST_P(TensorRingTest, Threads_RevokingProducer_NothingTornPasses) {
  auto producer = rig_.Producer(BusyPolicy::kRevoke);
  auto consumer = rig_.Consumer();
  std::atomic<int64_t> newest{-1};
  std::atomic<bool> done{false};
  int64_t checked = 0;
  std::thread reader([&] {
    while (!done || checked == 0) {
      if (newest < 0) continue;
      const int64_t sequence = newest;
      auto lease = rig_.Get(*consumer, sequence);
      if (!lease.ok()) continue;
      ++checked;
      // The payload itself is not read here: that a revoked slot is written under a reader is what
      // the policy means, and a race by design. Its header and its state must fit.
      EXPECT_EQ(lease->header().sequence, sequence);
      EXPECT_EQ(lease->header().annotation, "note " + std::to_string(sequence));
    }
  });
  for (int64_t sequence = 0; sequence < 1000; ++sequence) {
    EXPECT_TRUE(rig_.Put(*producer, sequence, static_cast<float>(sequence)).ok());
    newest = sequence;
  }
  done = true;
  reader.join();
  EXPECT_GT(checked, 0);
}

}  // namespace
}  // namespace retort::ring
