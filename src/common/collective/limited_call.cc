#include "common/collective/limited_call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"

namespace retort::collective {

struct LimitedCall::Shared {
  Mutex mutex;
  CondVar changed;
  bool started ABSL_GUARDED_BY(mutex) = false;
  bool returned ABSL_GUARDED_BY(mutex) = false;
  bool over ABSL_GUARDED_BY(mutex) = false;  // Returned, or given up.
};

LimitedCall::LimitedCall(std::string what, absl::Duration limit,
                         std::function<void(const std::string&)> end_process)
    : what_(std::move(what)),
      limit_(limit),
      end_process_(std::move(end_process)),
      shared_(std::make_shared<Shared>()) {}

LimitedCall::~LimitedCall() {
  Await();
  if (watcher_.joinable()) watcher_.join();
}

void LimitedCall::Start(std::function<void()> call) {
  MutexLock lock(&shared_->mutex);
  RETORT_CHECK(!shared_->started) << what_;
  shared_->started = true;
  watcher_ = std::thread([this, call = std::move(call)]() mutable { Watch(std::move(call)); });
}

void LimitedCall::Watch(std::function<void()> call) {
  std::thread helper([shared = shared_, call = std::move(call)]() mutable {
    call();
    call = nullptr;  // What it holds goes before anyone is told.
    MutexLock lock(&shared->mutex);
    shared->returned = true;
    shared->changed.NotifyAll();
  });
  const absl::Duration end = Clock::Real()->Now() + limit_;
  bool returned = false;
  {
    MutexLock lock(&shared_->mutex);
    while (!shared_->returned && Clock::Real()->Now() < end) {
      shared_->changed.WaitWithTimeout(&shared_->mutex, end - Clock::Real()->Now());
    }
    returned = shared_->returned;
  }
  if (returned) {
    helper.join();
  } else {
    helper.detach();
    end_process_(absl::StrCat(what_, " did not return within ", absl::FormatDuration(limit_)));
  }
  MutexLock lock(&shared_->mutex);
  shared_->over = true;
  shared_->changed.NotifyAll();
}

void LimitedCall::Await() {
  MutexLock lock(&shared_->mutex);
  while (shared_->started && !shared_->over) shared_->changed.Wait(&shared_->mutex);
}

}  // namespace retort::collective
