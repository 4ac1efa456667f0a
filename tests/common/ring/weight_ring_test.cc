#include "common/ring/weight_ring.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "common/ring/ring_fixture.h"
#include "common/ring/ring_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::ring {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const WeightRingShape kShape{.slots = 3, .slot_elements = 1000};

class WeightRingTest : public testing::Test {
 protected:
  WeightRingWriter Writer(uint64_t epoch = 1) {
    return *WeightRingWriter::Open(memory_.Map(), kShape, epoch);
  }
  WeightRingReader Reader() {
    return *WeightRingReader::Open(memory_.Map(Access::kReadOnly), kLong);
  }
  // Publishes weights that are all `value`; the digest is that of the bytes.
  static Digest Publish(WeightRingWriter& writer, int64_t version, float value) {
    const absl::Span<float> to = *writer.Begin(version);
    std::fill(to.begin(), to.end(), value);
    const Digest digest = DigestOf(to.data(), to.size() * sizeof(float));
    EXPECT_TRUE(writer.Commit(version, digest, {value, 0.5f}).ok());
    return digest;
  }
  static AcquireRequest Request(int64_t version, const Digest& digest,
                                absl::Duration timeout = kNow, uint64_t min_epoch = 0) {
    return {.version = version, .digest = digest, .min_epoch = min_epoch, .timeout = timeout};
  }

  SealedMemory memory_{WeightRingBytes(kShape)};
};

TEST_F(WeightRingTest, Acquire_PublishedVersion_WeightsDigestAndCanary) {
  WeightRingWriter writer = Writer();
  const WeightRingReader reader = Reader();
  EXPECT_EQ(reader.shape().slot_elements, 1000);
  for (int64_t version = 0; version < 7; ++version) {
    const Digest digest = Publish(writer, version, 1.0f + static_cast<float>(version));
    const auto view = reader.Acquire(Request(version, digest));
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->weights.size(), 1000u);
    EXPECT_EQ(DigestOf(view->weights.data(), 4000), digest);
    EXPECT_THAT(view->canary, ElementsAre(1.0f + static_cast<float>(version), 0.5f));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view->weights.data()) % 64, 0u);
    EXPECT_TRUE(reader.StillHolds(*view));
  }
}

TEST_F(WeightRingTest, Acquire_LastSlotsVersions_AllHeld) {
  WeightRingWriter writer = Writer();
  std::vector<Digest> digests;
  for (int v = 0; v < 5; ++v) digests.push_back(Publish(writer, v, static_cast<float>(v)));
  const WeightRingReader reader = Reader();
  for (int v = 2; v < 5; ++v) EXPECT_TRUE(reader.Acquire(Request(v, digests[v])).ok());
  const absl::Status gone = reader.Acquire(Request(1, digests[1])).status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(gone.message()), HasSubstr("its slot holds version 4 of epoch 1"));
}

TEST_F(WeightRingTest, Acquire_ZeroFilledSlots_HoldNoVersionZero) {
  Writer();
  const absl::Status status = Reader().Acquire(Request(0, Digest{})).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("holds nothing"));
}

TEST_F(WeightRingTest, Acquire_BeforeCommit_WaitsForIt) {
  WeightRingWriter writer = Writer();
  const WeightRingReader reader = Reader();
  const std::vector<float> weights(1000, 2.0f);
  const Digest digest = DigestOf(weights.data(), 4000);
  absl::Status status = absl::UnknownError("not yet");
  std::thread waiter([&] { status = reader.Acquire(Request(4, digest, kLong)).status(); });
  Publish(writer, 3, 1.0f);
  Publish(writer, 4, 2.0f);
  waiter.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(WeightRingTest, Acquire_WhileBeingWritten_NotHeld) {
  WeightRingWriter writer = Writer();
  const Digest digest = Publish(writer, 1, 1.0f);
  const WeightRingReader reader = Reader();
  ASSERT_TRUE(writer.Begin(1).ok());
  EXPECT_EQ(reader.Acquire(Request(1, digest)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(WeightRingTest, Acquire_OtherDigest_DataLossWithBoth) {
  WeightRingWriter writer = Writer();
  const Digest digest = Publish(writer, 1, 1.0f);
  const Digest other{1, 2};
  const absl::Status status = Reader().Acquire(Request(1, other, kLong)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr(digest.ToHex()));
  EXPECT_THAT(std::string(status.message()), HasSubstr(other.ToHex()));
}

TEST_F(WeightRingTest, Acquire_StaleEpoch_WaitsForTheNewOne) {
  WeightRingWriter old_writer = Writer(1);
  const Digest digest = Publish(old_writer, 1, 1.0f);
  const WeightRingReader reader = Reader();
  const absl::Status stale = reader.Acquire(Request(1, digest, kNow, 2)).status();
  EXPECT_EQ(stale.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(stale.message()), HasSubstr("of epoch 1, wanted epoch 2"));
  WeightRingWriter writer = Writer(2);
  Publish(writer, 1, 1.0f);
  const auto view = reader.Acquire(Request(1, digest, kNow, 2));
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view->epoch, 2u);
}

TEST_F(WeightRingTest, StillHolds_SlotBeingRewritten_False) {
  WeightRingWriter writer = Writer();
  const Digest digest = Publish(writer, 1, 1.0f);
  const WeightRingReader reader = Reader();
  const auto view = reader.Acquire(Request(1, digest));
  ASSERT_TRUE(view.ok());
  Publish(writer, 2, 2.0f);
  EXPECT_TRUE(reader.StillHolds(*view));
  ASSERT_TRUE(writer.Begin(4).ok());  // The slot of version 1.
  EXPECT_FALSE(reader.StillHolds(*view));
  ASSERT_TRUE(writer.Commit(4, Digest{}, {}).ok());
  EXPECT_FALSE(reader.StillHolds(*view));
}

TEST_F(WeightRingTest, Writer_Restarted_ContentsSurvive) {
  Digest digest;
  {
    WeightRingWriter writer = Writer(1);
    digest = Publish(writer, 1, 3.0f);
  }
  Writer(2);
  const auto view = Reader().Acquire(Request(1, digest));
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view->epoch, 1u);
}

TEST_F(WeightRingTest, Writer_NewerEpochTookOver_OldOneAborted) {
  WeightRingWriter old_writer = Writer(1);
  ASSERT_TRUE(old_writer.Begin(1).ok());
  Writer(2);
  EXPECT_EQ(old_writer.Commit(1, Digest{}, {}).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(old_writer.Begin(2).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(WeightRingWriter::Open(memory_.Map(), kShape, 1).status().code(),
            absl::StatusCode::kAborted);
}

TEST_F(WeightRingTest, Commit_WithoutBegin_FailedPrecondition) {
  WeightRingWriter writer = Writer();
  EXPECT_EQ(writer.Commit(1, Digest{}, {}).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(writer.Begin(1).ok());
  EXPECT_EQ(writer.Commit(2, Digest{}, {}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(writer.Commit(1, Digest{}, std::vector<float>(65)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(writer.Commit(1, Digest{}, std::vector<float>(64)).ok());
}

TEST_F(WeightRingTest, WriterOpen_OtherShape_Refused) {
  Writer();
  const WeightRingShape other_slots{.slots = 2, .slot_elements = 1000};
  EXPECT_EQ(WeightRingWriter::Open(memory_.Map(), other_slots, 1).status().code(),
            absl::StatusCode::kInvalidArgument);  // Not the segment's size.
  const WeightRingShape same_bytes{.slots = 3, .slot_elements = 1001};
  ASSERT_EQ(WeightRingBytes(same_bytes), WeightRingBytes(kShape));
  EXPECT_EQ(WeightRingWriter::Open(memory_.Map(), same_bytes, 1).status().code(),
            absl::StatusCode::kFailedPrecondition);
  const WeightRingShape none{.slots = 1, .slot_elements = 0};
  EXPECT_EQ(WeightRingWriter::Open(memory_.Map(), none, 1).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(WeightRingTest, ReaderOpen_NobodyWrote_DeadlineExceeded) {
  EXPECT_EQ(WeightRingReader::Open(memory_.Map(Access::kReadOnly), kNow).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(WeightRingTest, ReaderOpen_HeaderDoesNotFitTheSegment_DataLoss) {
  Writer();
  const Segment raw = memory_.Map();
  RingHeader& header = *reinterpret_cast<RingHeader*>(raw.data());
  const auto opens = [&] {
    return WeightRingReader::Open(memory_.Map(Access::kReadOnly), kNow).status().code();
  };
  ASSERT_EQ(opens(), absl::StatusCode::kOk);
  for (const uint32_t slots : {0u, 1u, 4u, 0xffff'ffffu}) {
    header.slots = slots;
    EXPECT_EQ(opens(), absl::StatusCode::kDataLoss) << slots;
  }
  header.slots = 3;
  for (const int64_t bytes :
       {int64_t{-1}, int64_t{0}, int64_t{4001}, int64_t{400'000}, int64_t{1} << 62}) {
    header.slot_bytes = bytes;
    EXPECT_EQ(opens(), absl::StatusCode::kDataLoss) << bytes;
  }
  header.slot_bytes = 4000;
  header.magic = 12;
  EXPECT_EQ(opens(), absl::StatusCode::kDataLoss);
}

// A writer laps readers; whatever a reader proves with StillHolds was whole.
TEST_F(WeightRingTest, StillHolds_WriterLapsReaders_NoTornVersionPasses) {
  constexpr int64_t kVersions = 3000;
  std::vector<Digest> digests;
  for (int64_t v = 0; v < kVersions; ++v) {
    const std::vector<float> weights(1000, static_cast<float>(v));
    digests.push_back(DigestOf(weights.data(), 4000));
  }
  Writer();
  std::atomic<int64_t> newest{0};
  std::atomic<bool> done{false};
  int64_t checked = 0;
  std::thread reader([&] {
    const WeightRingReader ring = Reader();
    while (!done || checked == 0) {
      const int64_t version = newest;
      const auto view = ring.Acquire(Request(version, digests[version]));
      if (!view.ok()) {  // Overwritten meanwhile, which must not look like damage.
        EXPECT_EQ(view.status().code(), absl::StatusCode::kDeadlineExceeded) << view.status();
        continue;
      }
      const Digest seen = DigestOf(view->weights.data(), 4000);
      if (!ring.StillHolds(*view)) continue;
      EXPECT_EQ(seen, digests[version]);
      ++checked;
    }
  });
  WeightRingWriter writer = Writer();  // Its own mapping, as in another process.
  for (int64_t v = 0; v < kVersions; ++v) {
    Publish(writer, v, static_cast<float>(v));
    newest = v;
  }
  done = true;
  reader.join();
  EXPECT_GT(checked, 0);
}

}  // namespace
}  // namespace retort::ring
