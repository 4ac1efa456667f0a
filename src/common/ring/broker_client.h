// Asks the FdBroker of this host for segments. One short connection per request; thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/ring/segment.h"

namespace retort::ring {

struct BrokerAddress {
  std::string socket;  // Abstract name without the leading NUL, 1 .. 100 bytes.
  std::string token;   // The run's access token.
};

// The segment `name` of exactly `bytes` bytes; made zero-filled if the broker does not know the
// name. Tries again while the broker does not listen yet. Errors: DEADLINE_EXCEEDED no broker
// answered within `timeout`; UNAUTHENTICATED wrong token or user; INVALID_ARGUMENT bad name or
// size, or the name exists with another size; RESOURCE_EXHAUSTED a broker limit.
absl::StatusOr<Segment> OpenSegment(const BrokerAddress& broker, const std::string& name,
                                    int64_t bytes, Access access, absl::Duration timeout);

// The broker forgets every name that starts with `prefix` (not empty). Memory that is still mapped
// lives on until it is unmapped. OK when there is none. Errors as above.
absl::Status DropSegments(const BrokerAddress& broker, const std::string& prefix,
                          absl::Duration timeout);

}  // namespace retort::ring
