// How fast weights reach a consumer through the weight ring, between two processes.
//   build/bench/weight_ring_bench [--rounds=200]
// switch      a consumer asks for a published version and has its weights, in place
// + copy      the same, and copies them into memory of its own
// wake        from the publisher's Commit to a consumer that waits for the version
// publish     the publisher's copy into the ring, against memcpy between ordinary memory of the
// same size
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/random_id.h"
#include "common/base/unique_fd.h"
#include "common/ring/broker_client.h"
#include "common/ring/fd_broker.h"
#include "common/ring/weight_ring.h"

ABSL_FLAG(int, rounds, 200, "versions published per model size");
ABSL_FLAG(bool, check, false, "exit with 1 if the target is missed");

namespace retort::ring {
namespace {

// What the two processes tell each other over pipes.
struct Published {
  int64_t version = -1;  // -1: the end.
  Digest digest;
};
struct Timings {
  double switch_us = 0;
  double copy_us = 0;
  double acquired_at_us = 0;  // On the clock that all processes share.
};

double NowMicroseconds() { return absl::ToDoubleMicroseconds(Clock::Real()->Now()); }

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

template <typename T>
void Put(const UniqueFd& to, const T& value) {
  RETORT_CHECK(write(to.get(), &value, sizeof(value)) == sizeof(value)) << "the other side ended";
}
template <typename T>
T Take(const UniqueFd& from) {
  T value;
  RETORT_CHECK(read(from.get(), &value, sizeof(value)) == sizeof(value)) << "the other side ended";
  return value;
}

Segment OpenRing(const BrokerAddress& broker, const WeightRingShape& shape, Access access) {
  auto segment = OpenSegment(broker, "weights", WeightRingBytes(shape), access, absl::Seconds(30));
  RETORT_CHECK(segment.ok()) << segment.status().ToString();
  return *std::move(segment);
}

// The consumer's process: alternately takes a version that is there and waits for one that is not
// yet.
[[noreturn]] void Consume(const BrokerAddress& broker, const WeightRingShape& shape,
                          const UniqueFd& from, const UniqueFd& to) {
  auto reader =
      WeightRingReader::Open(OpenRing(broker, shape, Access::kReadOnly), absl::Seconds(30));
  RETORT_CHECK(reader.ok()) << reader.status().ToString();
  std::vector<float> own(shape.slot_elements);
  while (true) {
    const auto published = Take<Published>(from);
    if (published.version < 0) _exit(0);
    const double start = NowMicroseconds();
    const auto view = reader->Acquire({.version = published.version,
                                       .digest = published.digest,
                                       .min_epoch = 1,
                                       .timeout = absl::Seconds(30)});
    RETORT_CHECK(view.ok()) << view.status().ToString();
    const double acquired = NowMicroseconds();
    std::memcpy(own.data(), view->weights.data(), own.size() * sizeof(float));
    const double copied = NowMicroseconds();
    RETORT_CHECK(reader->StillHolds(*view)) << "the ring was lapped";
    Put(to, Timings{acquired - start, copied - start, acquired});
  }
}

struct Results {
  std::vector<double> switch_us, copy_us, wake_us, publish_us, memcpy_us;
};

void Round(WeightRingWriter& writer, int64_t version, const std::vector<float>& weights,
           std::vector<float>& other, const UniqueFd& from, const UniqueFd& to, Results& results) {
  const size_t bytes = weights.size() * sizeof(float);
  const Digest digest{static_cast<uint64_t>(version), 1};  // Hashing is not what is measured.
  const double before_memcpy = NowMicroseconds();
  std::memcpy(other.data(), weights.data(), bytes);
  results.memcpy_us.push_back(NowMicroseconds() - before_memcpy);

  const bool consumer_waits = version % 2 == 1;
  if (consumer_waits) Put(to, Published{version, digest});
  const double before_publish = NowMicroseconds();
  const auto slot = writer.Begin(version);
  RETORT_CHECK(slot.ok()) << slot.status().ToString();
  std::memcpy(slot->data(), weights.data(), bytes);
  const double written = NowMicroseconds();
  RETORT_CHECK(writer.Commit(version, digest, {1.0f}).ok());
  results.publish_us.push_back(written - before_publish);
  if (!consumer_waits) Put(to, Published{version, digest});
  const auto timings = Take<Timings>(from);
  if (consumer_waits) {
    results.wake_us.push_back(timings.acquired_at_us - written);
  } else {
    results.switch_us.push_back(timings.switch_us);
    results.copy_us.push_back(timings.copy_us);
  }
}

// Returns the median of the switch in milliseconds.
double Measure(int64_t elements) {
  const WeightRingShape shape{.slots = 2, .slot_elements = elements};
  const BrokerAddress broker{"retort-bench-" + RandomHex(8), RandomHex(16)};
  int down[2];
  int up[2];
  RETORT_CHECK(pipe(down) == 0 && pipe(up) == 0);
  const pid_t consumer = fork();  // Before the broker's thread exists.
  if (consumer == 0) {
    close(down[1]);
    close(up[0]);
    Consume(broker, shape, UniqueFd(down[0]), UniqueFd(up[1]));
  }
  close(down[0]);
  close(up[1]);
  const UniqueFd to(down[1]);
  const UniqueFd from(up[0]);
  const auto server = FdBroker::Start({.socket = broker.socket, .token = broker.token});
  RETORT_CHECK(server.ok()) << server.status().ToString();
  auto writer = WeightRingWriter::Open(OpenRing(broker, shape, Access::kReadWrite), shape, 1);
  RETORT_CHECK(writer.ok()) << writer.status().ToString();
  const std::vector<float> weights(elements, 0.5f);
  std::vector<float> other(elements, 0.0f);
  Results results;
  for (int64_t v = 0; v < 4; ++v) Round(*writer, v, weights, other, from, to, results);
  results = {};
  for (int64_t v = 4; v < 4 + absl::GetFlag(FLAGS_rounds); ++v) {
    Round(*writer, v, weights, other, from, to, results);
  }
  Put(to, Published{});
  waitpid(consumer, nullptr, 0);

  const auto line = [](const char* name, const std::vector<double>& us) {
    std::printf("  %-10s %10.1f %10.1f %10.1f", name, Quantile(us, 0.5), Quantile(us, 0.25),
                Quantile(us, 0.75));
  };
  const double gigabytes = static_cast<double>(elements) * sizeof(float) / 1e9;
  const double publish = Quantile(results.publish_us, 0.5);
  const double memcpy_time = Quantile(results.memcpy_us, 0.5);
  std::printf("%.1f M parameters (%.1f MB fp32), us: median, 25 %%, 75 %%\n",
              static_cast<double>(elements) / 1e6, gigabytes * 1e3);
  line("switch", results.switch_us);
  std::printf("\n");
  line("+ copy", results.copy_us);
  std::printf("\n");
  line("wake", results.wake_us);
  std::printf("\n");
  line("publish", results.publish_us);
  std::printf("   %.1f GB/s, %.0f%% of memcpy's %.1f GB/s\n", gigabytes / publish * 1e6,
              100 * memcpy_time / publish, gigabytes / memcpy_time * 1e6);
  return Quantile(results.copy_us, 0.5) / 1e3;
}

int Main() {
  double slowest_ms = 0;
  for (const int64_t elements : {300'000, 1'000'000}) {
    slowest_ms = std::max(slowest_ms, Measure(elements));
  }
  Measure(32'000'000);
  std::printf("weight switch with copy, 0.3 to 1 M parameters: %.3f ms (target < 1 ms)\n",
              slowest_ms);
  return slowest_ms < 1 || !absl::GetFlag(FLAGS_check) ? 0 : 1;
}

}  // namespace
}  // namespace retort::ring

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return retort::ring::Main();
}
