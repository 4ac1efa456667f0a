#include "worker/agent/busy_watch.h"

#include <atomic>
#include <future>

#include "common/base/clock.h"
#include "gtest/gtest.h"

namespace retort::worker {
namespace {

constexpr absl::Duration kInterval = absl::Milliseconds(20);

// Computes until `done` is ready, at most 30 s.
bool ComputeUntil(const std::future<void>& done) {
  const absl::Duration end = Clock::Real()->Now() + absl::Seconds(30);
  while (Clock::Real()->Now() < end) {
    if (done.wait_for(std::chrono::seconds(0)) == std::future_status::ready) return true;
  }
  return false;
}

TEST(BusyWatchTest, ThreadComputes_SaysHowMuchAgainAndAgain) {
  std::promise<void> thrice;
  std::vector<absl::Duration> said;
  BusyWatch watch(kInterval);
  watch.Begin([&](absl::Duration busy) {
    said.push_back(busy);
    if (said.size() == 3) thrice.set_value();
  });
  EXPECT_TRUE(ComputeUntil(thrice.get_future()));
  watch.End();
  ASSERT_GE(said.size(), 3u);
  for (size_t i = 1; i < said.size(); ++i) EXPECT_GT(said[i], said[i - 1]);
}

// The other thread computes all the while: only the one that began counts.
TEST(BusyWatchTest, ThreadWaits_SaysNothing) {
  std::atomic<int> said{0};
  BusyWatch waiting(kInterval);
  waiting.Begin([&said](absl::Duration) { ++said; });
  std::async(std::launch::async, [] {
    std::promise<void> often;
    BusyWatch computing(kInterval);
    computing.Begin([&often, calls = 0](absl::Duration) mutable {
      if (++calls == 5) often.set_value();
    });
    EXPECT_TRUE(ComputeUntil(often.get_future()));
    computing.End();
  }).wait();
  waiting.End();
  EXPECT_EQ(said, 0);
}

TEST(BusyWatchTest, WatchedThreadHasEnded_SaysNothing) {
  std::atomic<int> said{0};
  BusyWatch ended(kInterval);
  std::thread([&] { ended.Begin([&said](absl::Duration) { ++said; }); }).join();
  std::promise<void> once;
  BusyWatch computing(kInterval);
  computing.Begin([&once, calls = 0](absl::Duration) mutable {
    if (++calls == 1) once.set_value();
  });
  EXPECT_TRUE(ComputeUntil(once.get_future()));
  computing.End();
  EXPECT_EQ(said, 0);
}

}  // namespace
}  // namespace retort::worker
