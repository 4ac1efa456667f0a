// The calls that a service has open: a server may shut its queue down only when none is left.
#pragma once

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace retort::rpc {

// One call, from when it was accepted until its last operation has completed.
class OpenCall {
 public:
  virtual ~OpenCall() = default;
  // Asks for an orderly end; called once, when the service ends.
  virtual void BeginEnd() = 0;
  // Breaks the call off: its operations fail soon. Thread-safe.
  virtual void Abandon() = 0;
};

// Thread-safe. Who calls WithCall may use the call inside `act`: Forget waits. Lock order: this,
// then a call's own lock.
class OpenCalls {
 public:
  using Id = uint64_t;  // From 1, never reused.

  // 0: the service is ending, or `limit` calls are open; the call is counted (so End waits for it)
  // but has no id.
  Id Add(OpenCall* call, int limit) {
    MutexLock lock(&mutex_);
    ++unfinished_;
    if (ending_ || static_cast<int>(calls_.size()) >= limit) return 0;
    calls_[++last_id_] = call;
    return last_id_;
  }

  // The call's last operation has completed. Nobody can reach it any more when this returns; it is
  // then destroyed and Remove called.
  void Forget(Id id) {
    MutexLock lock(&mutex_);
    if (id != 0) calls_.erase(id);
  }
  void Remove() {
    MutexLock lock(&mutex_);
    --unfinished_;
    changed_.NotifyAll();
  }

  // Runs act(call) under the lock and returns true, or returns false if there is no such call.
  template <typename Act>
  bool WithCall(Id id, Act act) {
    MutexLock lock(&mutex_);
    const auto found = calls_.find(id);
    if (found == calls_.end()) return false;
    act(found->second);
    return true;
  }

  bool ending() {
    MutexLock lock(&mutex_);
    return ending_;
  }

  // Refuses new calls, asks the open ones to end, abandons what is left after `grace`, returns when
  // none is left.
  void End(absl::Duration grace);

  // The server accepts no more: nothing will be added.
  void AcceptingStopped() {
    MutexLock lock(&mutex_);
    accepting_ = false;
    changed_.NotifyAll();
  }
  // Returns when AcceptingStopped was called and every call was removed.
  void AwaitDrained();

 private:
  bool WaitUntil(bool drained, absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar changed_;
  absl::flat_hash_map<Id, OpenCall*> calls_ ABSL_GUARDED_BY(mutex_);
  Id last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t unfinished_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool accepting_ ABSL_GUARDED_BY(mutex_) = true;
};

}  // namespace retort::rpc
