#include "common/ring/broker_client.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/ring/broker_protocol.h"

namespace retort::ring {
namespace {

constexpr absl::Duration kRetryPause = absl::Milliseconds(10);

absl::Status WaitReadable(int fd, absl::Duration timeout) {
  pollfd wait{fd, POLLIN, 0};
  const int64_t ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout), 0, 1 << 30);
  const int ready = poll(&wait, 1, static_cast<int>(ms));
  if (ready > 0) return absl::OkStatus();
  if (ready < 0 && errno != EINTR) return ErrnoError(errno, "segment broker: poll");
  return absl::UnavailableError("segment broker does not answer");
}

absl::StatusOr<BrokerResponse> Exchange(const std::string& socket, absl::string_view packet,
                                        absl::Duration timeout) {
  RETORT_ASSIGN_OR_RETURN(const UniqueFd fd, ConnectToBroker(socket));
  RETORT_RETURN_IF_ERROR(SendPacket(fd.get(), packet));
  RETORT_RETURN_IF_ERROR(WaitReadable(fd.get(), timeout));
  return ReceiveResponse(fd.get());
}

// The requests may be repeated, so whatever says "nobody there" is tried again until the deadline.
absl::StatusOr<BrokerResponse> Ask(const BrokerAddress& broker, BrokerRequest request,
                                   absl::Duration timeout) {
  request.token = broker.token;
  RETORT_ASSIGN_OR_RETURN(const std::string packet, EncodeRequest(request));
  const absl::Duration end = Clock::Real()->Now() + timeout;
  while (true) {
    absl::StatusOr<BrokerResponse> response =
        Exchange(broker.socket, packet, end - Clock::Real()->Now());
    if (response.ok()) {
      if (!response->status.ok()) return response->status;
      return response;
    }
    if (!absl::IsUnavailable(response.status())) return response.status();
    const absl::Duration left = end - Clock::Real()->Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat(response.status().message(), " (tried for ", absl::FormatDuration(timeout),
                       "); the process that serves the broker is not up"));
    }
    absl::SleepFor(std::min(kRetryPause, left));
  }
}

}  // namespace

absl::StatusOr<Segment> OpenSegment(const BrokerAddress& broker, const std::string& name,
                                    int64_t bytes, Access access, absl::Duration timeout) {
  RETORT_ASSIGN_OR_RETURN(
      BrokerResponse response,
      Ask(broker, {.operation = BrokerOperation::kOpen, .token = {}, .name = name, .bytes = bytes},
          timeout));
  if (!response.fd.valid()) {
    return absl::DataLossError(absl::StrCat("segment broker sent no descriptor for ", name));
  }
  return Segment::Map(std::move(response.fd), bytes, access, name);
}

absl::Status DropSegments(const BrokerAddress& broker, const std::string& prefix,
                          absl::Duration timeout) {
  return Ask(broker, {.operation = BrokerOperation::kDrop, .token = {}, .name = prefix, .bytes = 0},
             timeout)
      .status();
}

}  // namespace retort::ring
