#include "common/rpc/open_calls.h"

#include "common/base/check.h"
#include "common/base/clock.h"

namespace retort::rpc {
namespace {

// gRPC ends a cancelled call without the peer's help. If it does not, aborting beats hanging.
constexpr absl::Duration kCancelledCallsEndWithin = absl::Seconds(20);

}  // namespace

void OpenCalls::End(absl::Duration grace) {
  MutexLock lock(&mutex_);
  if (!ending_) {
    ending_ = true;
    for (const auto& [id, call] : calls_) call->BeginEnd();
  }
  if (WaitUntil(/*drained=*/false, grace)) return;
  for (const auto& [id, call] : calls_) call->Abandon();
  RETORT_CHECK(WaitUntil(/*drained=*/false, kCancelledCallsEndWithin))
      << unfinished_ << " cancelled calls do not end";
}

void OpenCalls::AwaitDrained() {
  MutexLock lock(&mutex_);
  RETORT_CHECK(WaitUntil(/*drained=*/true, kCancelledCallsEndWithin))
      << unfinished_ << " calls do not end, accepting " << accepting_;
}

bool OpenCalls::WaitUntil(bool drained, absl::Duration timeout) {
  const absl::Duration deadline = Clock::Real()->Now() + timeout;
  while (unfinished_ > 0 || (drained && accepting_)) {
    const absl::Duration left = deadline - Clock::Real()->Now();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitWithTimeout(&mutex_, left);
  }
  return true;
}

}  // namespace retort::rpc
