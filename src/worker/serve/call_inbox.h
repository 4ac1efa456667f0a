// What clients ask for, between the server's thread and the loop that serves them.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/rpc/inference_service.h"

namespace retort::worker {

// Bounded however long the loop computes: requests by `max_bytes`, ends of calls by the calls that
// the loop knows. Thread-safe.
class CallInbox {
 public:
  explicit CallInbox(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // A request that nobody has taken goes with the end of its call. RESOURCE_EXHAUSTED: requests of
  // max_bytes wait already, and this one is dropped.
  absl::Status Push(rpc::InferenceEvent event);

  // The oldest event, or nullopt after `timeout` without one.
  std::optional<rpc::InferenceEvent> Pop(absl::Duration timeout);

  // Whether the call, which the loop knows, has ended; the event waits here.
  bool Ended(rpc::InferenceCallId call);

 private:
  struct Entry {
    rpc::InferenceEvent event;
    int64_t bytes;
  };

  absl::Status AddRequest(rpc::InferenceEvent event, int64_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddEnd(const rpc::CallEnded& ended) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t max_bytes_;
  Mutex mutex_;
  CondVar ready_;
  std::deque<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_set<rpc::InferenceCallId> taken_ ABSL_GUARDED_BY(mutex_);  // And not ended.
  absl::flat_hash_set<rpc::InferenceCallId> ended_ ABSL_GUARDED_BY(mutex_);  // Waits in entries_.
};

}  // namespace retort::worker
