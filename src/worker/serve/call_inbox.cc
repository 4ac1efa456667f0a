#include "worker/serve/call_inbox.h"

#include <algorithm>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"

namespace retort::worker {
namespace {

rpc::InferenceCallId CallOf(const rpc::InferenceEvent& event) {
  return std::visit([](const auto& e) { return e.call; }, event);
}

int64_t BytesOf(const rpc::InferenceEvent& event) {
  return std::visit(
      [](const auto& e) -> int64_t {
        if constexpr (std::is_same_v<std::decay_t<decltype(e)>, rpc::CallEnded>) {
          return 0;
        } else {
          return static_cast<int64_t>(e.request.SpaceUsedLong() + e.peer.size());
        }
      },
      event);
}

}  // namespace

absl::Status CallInbox::Push(rpc::InferenceEvent event) {
  const int64_t bytes = BytesOf(event);
  MutexLock lock(&mutex_);
  if (const auto* ended = std::get_if<rpc::CallEnded>(&event)) {
    AddEnd(*ended);
    return absl::OkStatus();
  }
  return AddRequest(std::move(event), bytes);
}

absl::Status CallInbox::AddRequest(rpc::InferenceEvent event, int64_t bytes) {
  if (!entries_.empty() && bytes_ + bytes > max_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("requests of ", bytes_, " bytes arrived before; try again later"));
  }
  bytes_ += bytes;
  entries_.push_back({std::move(event), bytes});
  ready_.NotifyOne();
  return absl::OkStatus();
}

void CallInbox::AddEnd(const rpc::CallEnded& ended) {
  if (taken_.erase(ended.call) > 0) {
    ended_.insert(ended.call);
    entries_.push_back({ended, 0});
    ready_.NotifyOne();
    return;
  }
  const auto request = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return CallOf(entry.event) == ended.call;
  });
  if (request == entries_.end()) return;
  bytes_ -= request->bytes;
  entries_.erase(request);
}

std::optional<rpc::InferenceEvent> CallInbox::Pop(absl::Duration timeout) {
  const absl::Duration deadline = Clock::Real()->Now() + timeout;
  MutexLock lock(&mutex_);
  while (entries_.empty()) {
    const absl::Duration left = deadline - Clock::Real()->Now();
    if (left <= absl::ZeroDuration()) return std::nullopt;
    ready_.WaitWithTimeout(&mutex_, left);
  }
  Entry entry = std::move(entries_.front());
  entries_.pop_front();
  bytes_ -= entry.bytes;
  const rpc::InferenceCallId call = CallOf(entry.event);
  if (ended_.erase(call) == 0) taken_.insert(call);
  return std::move(entry.event);
}

bool CallInbox::Ended(rpc::InferenceCallId call) {
  MutexLock lock(&mutex_);
  return ended_.contains(call);
}

}  // namespace retort::worker
