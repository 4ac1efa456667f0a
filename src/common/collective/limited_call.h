// A call that may never return, such as ncclCommAbort: made in a helper thread, with a limit after
// which the process ends, for nothing else gets rid of it. Internal to collective/.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace retort::collective {

class LimitedCall {
 public:
  // `end_process` gets one line that says why. A test's may return: the helper thread is then left
  // behind, with what `call` of Start holds.
  LimitedCall(std::string what, absl::Duration limit,
              std::function<void(const std::string& why)> end_process);
  // Waits as Await does.
  ~LimitedCall();
  LimitedCall(const LimitedCall&) = delete;
  LimitedCall& operator=(const LimitedCall&) = delete;

  // Returns at once. Once at most. Thread-safe together with Await.
  void Start(std::function<void()> call);

  // Returns when the call has returned, or the limit has passed and `end_process` returned; at once
  // if nothing was started.
  void Await();

 private:
  struct Shared;
  void Watch(std::function<void()> call);

  const std::string what_;
  const absl::Duration limit_;
  const std::function<void(const std::string&)> end_process_;
  const std::shared_ptr<Shared> shared_;
  std::thread watcher_;
};

}  // namespace retort::collective
