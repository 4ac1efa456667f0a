#include "worker/learner/fetch_bundles.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"

namespace retort::worker {
namespace {

// One fetch after the other until none is left; several threads run it.
class FetchQueue {
 public:
  FetchQueue(absl::Span<const v1::TrainBundle> bundles, const ArtifactFetcher& fetch)
      : bundles_(bundles), fetch_(fetch), failures_(2 * bundles.size()) {
    fetched_.rollouts.resize(bundles.size());
    fetched_.scores.resize(bundles.size());
  }

  void Work() {
    for (size_t i = next_++; i < failures_.size(); i = next_++) {
      if (over_) return;
      const absl::Status status = i % 2 == 0 ? FetchRollout(i / 2) : FetchScores(i / 2);
      if (!status.ok()) Break(status);
    }
  }

  absl::StatusOr<FetchedBundles> Finish() {
    MutexLock lock(&mutex_);
    RETORT_RETURN_IF_ERROR(error_);
    for (FetchFailure& failure : failures_) {
      if (!failure.status.ok()) fetched_.failures.push_back(std::move(failure));
    }
    return std::move(fetched_);
  }

 private:
  absl::Status FetchRollout(size_t i) {
    const absl::StatusOr<std::string> bytes =
        Fetch(2 * i, bundles_[i].bundle(), bundles_[i].rollout());
    if (!bytes.ok()) return OrHarmless(bytes.status());
    RETORT_ASSIGN_OR_RETURN(fetched_.rollouts[i], artifact::DecodeRollout(*bytes));
    return absl::OkStatus();
  }

  absl::Status FetchScores(size_t i) {
    const absl::StatusOr<std::string> bytes =
        Fetch(2 * i + 1, bundles_[i].bundle(), bundles_[i].scores());
    if (!bytes.ok()) return OrHarmless(bytes.status());
    RETORT_ASSIGN_OR_RETURN(fetched_.scores[i], artifact::DecodeScores(*bytes));
    return absl::OkStatus();
  }

  // Each place of failures_ is written by one thread.
  absl::StatusOr<std::string> Fetch(size_t place, const v1::BundleId& bundle,
                                    const v1::ArtifactRef& ref) {
    absl::StatusOr<std::string> bytes = fetch_(ref);
    if (bytes.ok() || absl::IsInvalidArgument(bytes.status())) return bytes;
    failures_[place] = {bundle, ref, bytes.status()};
    // The holder is to be reported now: a second wait would be too long for this rank's lease.
    if (absl::IsDeadlineExceeded(bytes.status())) over_ = true;
    return bytes;
  }

  static absl::Status OrHarmless(const absl::Status& status) {
    return absl::IsInvalidArgument(status) ? status : absl::OkStatus();
  }

  void Break(const absl::Status& status) {
    MutexLock lock(&mutex_);
    error_.Update(status);
    over_ = true;
  }

  const absl::Span<const v1::TrainBundle> bundles_;
  const ArtifactFetcher& fetch_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> over_{false};
  FetchedBundles fetched_;
  std::vector<FetchFailure> failures_;
  Mutex mutex_;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<FetchedBundles> FetchBundles(absl::Span<const v1::TrainBundle> bundles,
                                            const ArtifactFetcher& fetch, int max_streams) {
  FetchQueue queue(bundles, fetch);
  const int streams = std::min<int>(max_streams, 2 * static_cast<int>(bundles.size()));
  std::vector<std::thread> threads;
  for (int i = 1; i < streams; ++i) threads.emplace_back([&queue] { queue.Work(); });
  queue.Work();
  for (std::thread& thread : threads) thread.join();
  return queue.Finish();
}

}  // namespace retort::worker
