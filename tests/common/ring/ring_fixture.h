// What tests of the rings share: sealed memory to map often, processes to play dead, and both
// transports behind one face.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/process_identity.h"
#include "common/base/unique_fd.h"
#include "common/ring/ring_memory.h"
#include "common/ring/segment.h"
#include "common/ring/tensor_ring.h"
#include "common/ring/tensor_ring_consumer.h"
#include "gtest/gtest.h"
#include "testing/fake_gpu.h"

namespace retort::ring {

inline constexpr absl::Duration kLong = absl::Seconds(60);
inline constexpr absl::Duration kNow = absl::ZeroDuration();

using Extremes = std::pair<float, float>;  // The smallest and the largest element of a tensor.

inline std::string Text(const absl::Status& status) { return std::string(status.message()); }

// A sealed memory that can be mapped many times, as the broker gives it.
class SealedMemory {
 public:
  explicit SealedMemory(int64_t bytes) : bytes_(bytes) {
    fd_ = UniqueFd(memfd_create("ring_test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_EQ(ftruncate(fd_.get(), bytes), 0);
    EXPECT_EQ(fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
  }
  Segment Map(Access access = Access::kReadWrite) const {
    return *Segment::Map(UniqueFd(dup(fd_.get())), bytes_, access, "ring_test");
  }

 private:
  int64_t bytes_;
  UniqueFd fd_;
};

// A process that does nothing: what a ring's party plays to be, until it is killed.
class Bystander {
 public:
  Bystander() {
    int to_parent[2];
    EXPECT_EQ(pipe2(to_parent, O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const ProcessIdentity own = *OwnProcess();
      if (write(to_parent[1], &own, sizeof(own)) != sizeof(own)) _exit(1);
      while (true) pause();
    }
    EXPECT_EQ(read(to_parent[0], &identity_, sizeof(identity_)),
              static_cast<ssize_t>(sizeof(identity_)));
    close(to_parent[0]);
    close(to_parent[1]);
  }
  ~Bystander() { Kill(); }
  Bystander(const Bystander&) = delete;

  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  const ProcessIdentity& identity() const { return identity_; }

 private:
  pid_t pid_ = -1;
  ProcessIdentity identity_;
};

// What a killed process leaves: its objects, whose destructors never run.
template <typename T>
void Bury(T object) {
  static auto* const buried = new std::vector<std::unique_ptr<T>>();
  buried->push_back(std::make_unique<T>(std::move(object)));
}

struct RingKind {
  const char* name;
  TransportKind transport;
  bool one_process;  // Consumers are in the producer's process.
};

inline std::string RingKindName(const testing::TestParamInfo<RingKind>& info) {
  return info.param.name;
}
inline std::vector<RingKind> RingKinds() {
  return {{"Host", TransportKind::kHost, true},
          {"HostBetweenProcesses", TransportKind::kHost, false},
          {"Device", TransportKind::kDeviceIpc, true},
          {"DeviceBetweenProcesses", TransportKind::kDeviceIpc, false}};
}

// A process that takes part: who it is, and its GPU run-time. `bystander` null: the test itself.
class Peer {
 public:
  Peer(const Bystander* bystander, gpu::FakeGpuOptions options = {}) {
    if (bystander != nullptr) options.process = bystander->identity();
    process_ = options.process;
    gpu_ = std::make_unique<gpu::FakeGpu>(std::move(options));
    stream_ = *gpu_->CreateStream();
  }
  gpu::FakeGpu& gpu() { return *gpu_; }
  gpu::Stream stream() const { return stream_; }
  const ProcessIdentity& process() const { return process_; }
  void EndGpu() { gpu_.reset(); }  // As the process's death does.
  bool has_gpu() const { return gpu_ != nullptr; }

 private:
  ProcessIdentity process_;
  std::unique_ptr<gpu::FakeGpu> gpu_;
  gpu::Stream stream_ = nullptr;
};

class RingFixture {
 public:
  explicit RingFixture(const RingKind& kind, int slots = 2, int max_consumers = 3)
      : kind_(kind),
        shape_{.slots = slots,
               .slot_bytes = 4000,
               .max_consumers = max_consumers,
               .transport = kind.transport},
        memory_(TensorRingBytes(shape_)),
        producer_peer_(&producer_process_),
        consumer_peer_(kind.one_process ? &producer_process_ : &consumer_process_) {}

  bool on_device() const { return kind_.transport == TransportKind::kDeviceIpc; }
  const TensorRingShape& shape() const { return shape_; }
  SealedMemory& memory() { return memory_; }
  Bystander& producer_process() { return producer_process_; }
  // Between processes only: killing it kills no producer.
  Bystander& consumer_process() { return consumer_process_; }
  Peer& producer_peer() { return producer_peer_; }
  // In one process the two share the run-time.
  Peer& consumer_peer() { return kind_.one_process ? producer_peer_ : consumer_peer_; }
  gpu::Stream producer_stream() { return on_device() ? producer_peer_.stream() : nullptr; }
  gpu::Stream consumer_stream() { return on_device() ? consumer_peer().stream() : nullptr; }

  std::unique_ptr<ProducerTransport> ProducerSide(Peer& peer) {
    return on_device() ? DeviceProducerTransport(&peer.gpu(), 0) : HostProducerTransport();
  }
  std::unique_ptr<ConsumerTransport> ConsumerSide(Peer& peer) {
    return on_device() ? DeviceConsumerTransport(&peer.gpu(), 0) : HostConsumerTransport();
  }
  absl::StatusOr<std::unique_ptr<TensorRingProducer>> TryProducer(
      Peer& peer, uint64_t epoch = 1, BusyPolicy when_busy = BusyPolicy::kFail) {
    return TensorRingProducer::Open(
        memory_.Map(), shape_, {.epoch = epoch, .when_busy = when_busy, .process = peer.process()},
        ProducerSide(peer));
  }
  std::unique_ptr<TensorRingProducer> Producer(BusyPolicy when_busy = BusyPolicy::kFail) {
    auto ring = TryProducer(producer_peer_, 1, when_busy);
    EXPECT_TRUE(ring.ok()) << ring.status();
    return *std::move(ring);
  }
  absl::StatusOr<std::unique_ptr<TensorRingConsumer>> TryConsumer(Peer& peer) {
    return TensorRingConsumer::Open(memory_.Map(), {.process = peer.process()}, ConsumerSide(peer),
                                    kLong);
  }
  std::unique_ptr<TensorRingConsumer> Consumer() {
    auto ring = TryConsumer(consumer_peer());
    EXPECT_TRUE(ring.ok()) << ring.status();
    return *std::move(ring);
  }

  // 1000 floats that are all `value`.
  static TensorHeader HeaderFor(int64_t sequence) {
    return MakeTensorHeader(/*step=*/sequence + 10, sequence, Dtype::kFloat32, {10, 100},
                            "note " + std::to_string(sequence));
  }
  absl::Status Put(TensorRingProducer& ring, int64_t sequence, float value,
                   absl::Duration wait = kNow) {
    const std::vector<float> values(1000, value);
    return ring.Write(HeaderFor(sequence), values.data(), producer_stream(), wait);
  }
  static TensorRequest Request(int64_t sequence, absl::Duration timeout = kNow,
                               uint64_t min_epoch = 0) {
    TensorRequest request;
    request.sequence = sequence;
    request.min_epoch = min_epoch;
    request.timeout = timeout;
    return request;
  }
  absl::StatusOr<TensorLease> Get(TensorRingConsumer& ring, int64_t sequence,
                                  absl::Duration timeout = kNow) {
    return ring.Acquire(Request(sequence, timeout), consumer_stream());
  }
  // Until the consumers' stream has run dry. What the producer's stream waited for may have
  // happened since its last call, and a fake's streams move in calls only.
  void AwaitReads() {
    const absl::Duration end = Clock::Real()->Now() + kLong;
    while (!consumer_peer().gpu().IsIdle(consumer_stream())) {
      if (producer_peer_.has_gpu()) (void)producer_peer_.gpu().IsIdle(producer_stream());
      RETORT_CHECK(Clock::Real()->Now() < end) << "the reads never come";
    }
  }
  // What a reader that works in its stream sees.
  Extremes Read(const TensorLease& lease) {
    std::vector<float> values(lease.data().size() / sizeof(float));
    if (on_device()) {
      EXPECT_TRUE(consumer_peer()
                      .gpu()
                      .Copy(values.data(), lease.data().data(),
                            static_cast<int64_t>(lease.data().size()), consumer_stream())
                      .ok());
      AwaitReads();
    } else {
      std::memcpy(values.data(), lease.data().data(), lease.data().size());
    }
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    return {*low, *high};
  }

  RingHeader& raw_header(const Segment& raw) { return *reinterpret_cast<RingHeader*>(raw.data()); }
  // Lease words of all slots and consumers that are not 0.
  int Leases() {
    const auto memory = *RingMemory::Join(memory_.Map(), kNow);
    int held = 0;
    for (int slot = 0; slot < shape_.slots; ++slot) {
      for (int consumer = 0; consumer < shape_.max_consumers; ++consumer) {
        held += memory->Load({Word::kLease, slot, consumer}) != 0;
      }
    }
    return held;
  }
  // What a run-time would leave undefined did not happen, and nothing is left over.
  void ExpectCleanGpus() {
    for (Peer* peer : {&producer_peer_, &consumer_peer_}) {
      if (!peer->has_gpu()) continue;
      EXPECT_TRUE(peer->gpu().misuses().empty()) << peer->gpu().misuses().front();
      EXPECT_EQ(peer->gpu().allocations(), 0);
      EXPECT_EQ(peer->gpu().open_memories(), 0);
      EXPECT_EQ(peer->gpu().events(), 0);
    }
  }

 private:
  const RingKind kind_;
  const TensorRingShape shape_;
  SealedMemory memory_;
  Bystander producer_process_, consumer_process_;
  Peer producer_peer_, consumer_peer_;
};

// For tests over some kinds of rings.
class RingTest : public testing::TestWithParam<RingKind> {
 protected:
  void TearDown() override { rig_.ExpectCleanGpus(); }
  // The producer's process is killed: nothing of it runs any more.
  void KillProducer(std::unique_ptr<TensorRingProducer> producer) {
    Bury(std::move(producer));
    rig_.producer_process().Kill();
    if (!GetParam().one_process) rig_.producer_peer().EndGpu();
  }

  RingFixture rig_{GetParam()};
};

}  // namespace retort::ring
