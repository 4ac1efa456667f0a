// Producers and consumers of a tensor ring that are killed at every access that they make to the
// ring's words, over both transports: whoever survives goes on, and nothing is left behind.
#include <signal.h>
#include <sys/wait.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/ring/broker_client.h"
#include "common/ring/fd_broker.h"
#include "common/ring/ring_memory.h"
#include "common/ring/tensor_ring.h"
#include "common/ring/tensor_ring_consumer.h"
#include "gtest/gtest.h"
#include "multiprocess/child_process.h"
#include "multiprocess/ring_peer.h"
#include "testing/fake_gpu.h"

namespace retort::ring {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr absl::Duration kShort = absl::Milliseconds(20);
constexpr int kKilled = 128 + SIGKILL;
constexpr int kMostSteps = 500;  // More than any of these lives has.

class RingKillTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    descriptors_ = Descriptors();
    auto broker = FdBroker::Start({.socket = address_.socket, .token = address_.token});
    ASSERT_TRUE(broker.ok()) << broker.status();
    broker_ = *std::move(broker);
    stream_ = device() ? *gpu_.CreateStream() : nullptr;
  }
  void TearDown() override {
    EXPECT_EQ(Leases(), 0);
    EXPECT_TRUE(gpu_.misuses().empty()) << gpu_.misuses().front();
    EXPECT_EQ(gpu_.allocations(), 0);
    EXPECT_EQ(gpu_.open_memories(), 0);
    EXPECT_EQ(gpu_.events(), 0);
    EXPECT_EQ(broker_->segment_count(), 1);
    EXPECT_TRUE(DropSegments(address_, "ring", kLong).ok());
    EXPECT_EQ(broker_->segment_count(), 0);
    broker_.reset();
    EXPECT_EQ(Descriptors(), descriptors_);
  }

  static bool device() { return GetParam(); }
  static size_t Descriptors() { return ListDirectory("/proc/self/fd")->size(); }
  Segment OpenRing() const {
    auto segment =
        OpenSegment(address_, "ring", TensorRingBytes(shape_), Access::kReadWrite, kLong);
    EXPECT_TRUE(segment.ok()) << segment.status();
    return *std::move(segment);
  }
  std::unique_ptr<ChildProcess> Start(const std::string& role, int64_t first, int epoch,
                                      const std::string& failpoint) const {
    return std::make_unique<ChildProcess>(std::vector<std::string>{
        ExecutableDirectory() + "/ring_peer", "--role=" + role,
        absl::StrCat("--transport=", device() ? "device" : "host"), "--socket=" + address_.socket,
        "--token=" + address_.token, absl::StrCat("--first=", first),
        absl::StrCat("--epoch=", epoch), "--failpoint=" + failpoint});
  }
  std::unique_ptr<TensorRingProducer> MakeProducer() {
    ProducerOptions options;
    options.epoch = 1;
    auto ring = TensorRingProducer::Open(
        OpenRing(), shape_, options,
        device() ? DeviceProducerTransport(&gpu_, 0) : HostProducerTransport());
    EXPECT_TRUE(ring.ok()) << ring.status();
    return *std::move(ring);
  }
  std::unique_ptr<TensorRingConsumer> MakeConsumer() {
    auto ring = TensorRingConsumer::Open(
        OpenRing(), {}, device() ? DeviceConsumerTransport(&gpu_, 0) : HostConsumerTransport(),
        kLong);
    EXPECT_TRUE(ring.ok()) << ring.status();
    return *std::move(ring);
  }
  absl::Status Put(TensorRingProducer& ring, int64_t sequence) {
    const std::vector<float> values = PeerValues(sequence);
    return ring.Write(PeerHeader(sequence), values.data(), stream_, kLong);
  }
  // OK if the tensor was there and whole. Between attempts, so that a consumer that waits for one
  // producer's tensor also lets go of the last one's memory.
  absl::Status Get(TensorRingConsumer& ring, int64_t sequence, absl::Duration timeout,
                   bool await_successor) {
    TensorRequest request;
    request.sequence = sequence;
    request.timeout = timeout;
    request.await_successor = await_successor;
    auto lease = ring.Acquire(request, stream_);
    if (!lease.ok()) return lease.status();
    std::vector<float> read(1000);
    EXPECT_EQ(lease->data().size(), 4000u);
    if (device()) {
      EXPECT_TRUE(gpu_.Copy(read.data(), lease->data().data(), 4000, stream_).ok());
      while (!gpu_.IsIdle(stream_)) {
      }
    } else {
      std::memcpy(read.data(), lease->data().data(), 4000);
    }
    if (lease->StillHolds()) {
      EXPECT_EQ(read, PeerValues(sequence));
    }
    return lease->Release(stream_);
  }
  // The tensor, or why not once `producer` has ended.
  absl::Status GetFrom(TensorRingConsumer& ring, const ChildProcess& producer, int64_t sequence) {
    while (true) {
      const bool ended = producer.Ended();
      const absl::Status status = Get(ring, sequence, kShort, /*await_successor=*/true);
      if (status.ok() || ended) return status;
      // Device memory is void as soon as its producer is; that it has ended is seen a bit later.
      EXPECT_TRUE(absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status)) << status;
    }
  }
  // Lets a process go on that stops at a failpoint.
  static void Continue(const ChildProcess& process) {
    siginfo_t info{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(process.pid()), &info, WSTOPPED | WEXITED | WNOWAIT),
              0);
    EXPECT_EQ(info.si_code, CLD_STOPPED);
    kill(process.pid(), SIGCONT);
  }
  // Lets a producer end, which waits until its memory is closed.
  int AwaitEnd(TensorRingConsumer& ring, ChildProcess& producer) {
    while (!producer.Ended()) (void)Get(ring, kNever, kShort, /*await_successor=*/true).ok();
    return producer.Wait();
  }
  int Leases() {
    const auto memory = *RingMemory::Join(OpenRing(), kLong);
    return (memory->Load({Word::kLease, 0, 0}) != 0) + (memory->Load({Word::kLease, 1, 0}) != 0);
  }

  // Kills consumers at `name`'s first, second, ... hit until one lives through.
  void KillConsumersAt(const std::string& name) {
    auto producer = MakeProducer();
    int kills = 0;
    for (int64_t hit = 1; hit < kMostSteps; ++hit) {
      SCOPED_TRACE(absl::StrCat(name, " hit ", hit));
      const int64_t first = 4 * hit;
      ASSERT_TRUE(Put(*producer, first).ok());
      ASSERT_TRUE(Put(*producer, first + 1).ok());
      const int status = Start("consumer", first, 1, absl::StrCat(name, "=kill@", hit))->Wait();
      ASSERT_TRUE(status == kKilled || status == 0) << status;
      kills += status == kKilled;
      ASSERT_TRUE(Put(*producer, first + 2).ok());
      ASSERT_TRUE(Put(*producer, first + 3).ok());
      EXPECT_EQ(Leases(), 0);
      auto consumer = MakeConsumer();  // In the dead one's entry, the only one.
      ASSERT_NE(consumer, nullptr);
      EXPECT_TRUE(Get(*consumer, first + 2, kLong, false).ok());
      EXPECT_TRUE(Get(*consumer, first + 3, kLong, false).ok());
      if (status == 0) break;
    }
    EXPECT_GT(kills, 0);
    RecordProperty("kills", kills);
    std::printf("%s: %d consumers killed\n", name.c_str(), kills);
    EXPECT_TRUE(producer->Close(kLong).ok());
  }

  // The same with producers; the survivor is a consumer, and each gets a successor.
  void KillProducersAt(const std::string& name) {
    { const auto formats = MakeProducer(); }
    auto consumer = MakeConsumer();
    int kills = 0;
    for (int hit = 1; hit < kMostSteps; ++hit) {
      SCOPED_TRACE(absl::StrCat(name, " hit ", hit));
      const int64_t first = 4 * hit;
      const auto victim = Start("producer", first, 2 * hit, absl::StrCat(name, "=kill@", hit));
      if (GetFrom(*consumer, *victim, first).ok()) {
        (void)GetFrom(*consumer, *victim, first + 1).ok();
      }
      const int status = AwaitEnd(*consumer, *victim);
      ASSERT_TRUE(status == kKilled || status == 0) << status;
      kills += status == kKilled;
      const absl::Status ended = Get(*consumer, kNever, kLong, /*await_successor=*/false);
      EXPECT_EQ(ended.code(), absl::StatusCode::kUnavailable) << ended;
      EXPECT_EQ(Leases(), 0);

      const auto successor = Start("producer", first + 2, 2 * hit + 1, "peer.written=stop");
      EXPECT_TRUE(GetFrom(*consumer, *successor, first + 2).ok());
      EXPECT_TRUE(GetFrom(*consumer, *successor, first + 3).ok());
      Continue(*successor);
      ASSERT_EQ(AwaitEnd(*consumer, *successor), 0);
      if (status == 0) break;
    }
    EXPECT_GT(kills, 0);
    RecordProperty("kills", kills);
    std::printf("%s: %d producers killed\n", name.c_str(), kills);
  }

  static constexpr int64_t kNever = int64_t{1} << 40;
  const TensorRingShape shape_ = PeerShape(device());
  const BrokerAddress address_{"retort-test-" + RandomHex(8), RandomHex(16)};
  gpu::FakeGpu gpu_;
  gpu::Stream stream_ = nullptr;
  std::unique_ptr<FdBroker> broker_;
  size_t descriptors_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Transports, RingKillTest, testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "Device" : "Host");
});

TEST_P(RingKillTest, Consumer_KilledAtEveryStep_ProducerAndNextConsumerGoOn) {
  KillConsumersAt("ring.step");
}

TEST_P(RingKillTest, Consumer_KilledHoldingLeases_ProducerAndNextConsumerGoOn) {
  KillConsumersAt("ring.leased");
}

TEST_P(RingKillTest, Producer_KilledAtEveryStep_ConsumerAndSuccessorGoOn) {
  KillProducersAt("ring.step");
}

TEST_P(RingKillTest, Producer_KilledBeforeCommit_ConsumerAndSuccessorGoOn) {
  KillProducersAt("ring.written");
}

class DeviceRingKillTest : public RingKillTest {};
INSTANTIATE_TEST_SUITE_P(Transports, DeviceRingKillTest, testing::Values(true),
                         [](const auto&) { return std::string("Device"); });

TEST_P(DeviceRingKillTest, Producer_KilledBetweenExportAndPublication_SuccessorGoesOn) {
  KillProducersAt("ring.exported");
}

TEST_P(DeviceRingKillTest, Consumer_KilledBeforeItOpensTheMemory_ProducerGoesOn) {
  KillConsumersAt("ring.opening");
}

}  // namespace
}  // namespace retort::ring
