// What the FdBroker and its clients say to each other. Internal to ring/.
//
// SOCK_SEQPACKET, so that one packet is one message: the client sends one Request, the server
// answers with one Response (with the descriptor as ancillary data when an Open succeeded) and
// closes. Both ends run the same build on the same host: plain structs, fixed size, checked field
// by field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/unique_fd.h"

namespace retort::ring {

enum class BrokerOperation : uint32_t { kOpen = 1, kDrop = 2 };

inline constexpr size_t kMaxTokenBytes = 256;
inline constexpr size_t kMaxNameBytes = 256;
inline constexpr size_t kMaxSocketBytes = 100;

struct BrokerRequest {
  BrokerOperation operation = BrokerOperation::kOpen;
  std::string token;  // 1 .. kMaxTokenBytes bytes
  std::string name;   // 1 .. kMaxNameBytes of printable ASCII; of a Drop, the prefix
  int64_t bytes = 0;  // 0 for a Drop
};

struct BrokerResponse {
  absl::Status status;
  UniqueFd fd;  // Valid iff an Open succeeded.
};

// INVALID_ARGUMENT if a field breaks its bound; names it.
absl::StatusOr<std::string> EncodeRequest(const BrokerRequest& request);
absl::StatusOr<BrokerRequest> DecodeRequest(absl::string_view packet);
inline constexpr size_t kMaxRequestPacketBytes = 1024;

// A connected, non-blocking SEQPACKET socket. UNAVAILABLE when nobody listens (yet).
absl::StatusOr<UniqueFd> ConnectToBroker(const std::string& socket_name);
absl::StatusOr<UniqueFd> ListenAsBroker(const std::string& socket_name);

// One packet each, without blocking; the client waits for readability before ReceiveResponse.
absl::Status SendPacket(int socket, absl::string_view packet);
absl::Status SendResponse(int socket, const absl::Status& status, int fd_or_minus_1);
absl::StatusOr<BrokerResponse> ReceiveResponse(int socket);

}  // namespace retort::ring
