#include "common/ring/broker_protocol.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace retort::ring {
namespace {

constexpr uint32_t kMagic = 0x52464442;  // "RFDB"
constexpr uint32_t kFormat = 1;

struct RequestHeader {
  uint32_t magic;
  uint32_t format;
  uint32_t operation;
  uint32_t token_bytes;
  uint32_t name_bytes;
  uint32_t reserved;
  int64_t bytes;
};
static_assert(sizeof(RequestHeader) + kMaxTokenBytes + kMaxNameBytes <= kMaxRequestPacketBytes);

constexpr size_t kMaxMessageBytes = 512;
struct ResponsePacket {
  uint32_t magic;
  int32_t code;  // absl::StatusCode
  char message[kMaxMessageBytes];
};

absl::Status CheckRequest(const BrokerRequest& request) {
  if (request.token.empty() || request.token.size() > kMaxTokenBytes) {
    return absl::InvalidArgumentError(absl::StrCat("broker token has ", request.token.size(),
                                                   " bytes; expected 1 to ", kMaxTokenBytes));
  }
  if (request.name.empty() || request.name.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(absl::StrCat("segment name has ", request.name.size(),
                                                   " bytes; expected 1 to ", kMaxNameBytes));
  }
  if (!std::all_of(request.name.begin(), request.name.end(), absl::ascii_isprint)) {
    return absl::InvalidArgumentError("segment name is not printable ASCII");
  }
  const bool is_open = request.operation == BrokerOperation::kOpen;
  if (!is_open && request.operation != BrokerOperation::kDrop) {
    return absl::InvalidArgumentError(absl::StrCat(
        "broker operation ", static_cast<uint32_t>(request.operation), "; expected 1 or 2"));
  }
  if (is_open ? request.bytes <= 0 : request.bytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("segment ", request.name, ": ", request.bytes, " bytes"));
  }
  return absl::OkStatus();
}

absl::StatusOr<socklen_t> AbstractAddress(const std::string& name, sockaddr_un* address) {
  if (name.empty() || name.size() > kMaxSocketBytes) {
    return absl::InvalidArgumentError(absl::StrCat("broker socket name has ", name.size(),
                                                   " bytes; expected 1 to ", kMaxSocketBytes));
  }
  *address = {};
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path + 1, name.data(), name.size());  // sun_path[0] == 0: abstract.
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

absl::StatusOr<UniqueFd> NewSocket() {
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoError(errno, "socket for the segment broker");
  return fd;
}

// A peer can attach several descriptors; all but a single expected one are closed.
UniqueFd TakeDescriptor(msghdr& message) {
  UniqueFd taken;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      taken = UniqueFd(fd);
    }
  }
  return taken;
}

}  // namespace

absl::StatusOr<std::string> EncodeRequest(const BrokerRequest& request) {
  RETORT_RETURN_IF_ERROR(CheckRequest(request));
  const RequestHeader header{kMagic,
                             kFormat,
                             static_cast<uint32_t>(request.operation),
                             static_cast<uint32_t>(request.token.size()),
                             static_cast<uint32_t>(request.name.size()),
                             0,
                             request.bytes};
  std::string packet(reinterpret_cast<const char*>(&header), sizeof(header));
  absl::StrAppend(&packet, request.token, request.name);
  return packet;
}

absl::StatusOr<BrokerRequest> DecodeRequest(absl::string_view packet) {
  RequestHeader header;
  if (packet.size() < sizeof(header)) {
    return absl::InvalidArgumentError(
        absl::StrCat("broker request of ", packet.size(), " bytes is truncated"));
  }
  std::memcpy(&header, packet.data(), sizeof(header));
  if (header.magic != kMagic || header.format != kFormat) {
    return absl::InvalidArgumentError("not a broker request of this build");
  }
  if (header.token_bytes > kMaxTokenBytes || header.name_bytes > kMaxNameBytes ||
      packet.size() != sizeof(header) + header.token_bytes + header.name_bytes) {
    return absl::InvalidArgumentError("broker request has wrong lengths");
  }
  BrokerRequest request;
  request.operation = static_cast<BrokerOperation>(header.operation);
  request.bytes = header.bytes;
  request.token = std::string(packet.substr(sizeof(header), header.token_bytes));
  request.name = std::string(packet.substr(sizeof(header) + header.token_bytes));
  RETORT_RETURN_IF_ERROR(CheckRequest(request));
  return request;
}

absl::StatusOr<UniqueFd> ConnectToBroker(const std::string& socket_name) {
  sockaddr_un address;
  RETORT_ASSIGN_OR_RETURN(const socklen_t length, AbstractAddress(socket_name, &address));
  RETORT_ASSIGN_OR_RETURN(UniqueFd fd, NewSocket());
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) == 0) return fd;
  // EAGAIN: its queue of new connections is full.
  if (errno == ECONNREFUSED || errno == EAGAIN) {
    return absl::UnavailableError(
        absl::StrCat("segment broker \"", socket_name, "\": ", std::strerror(errno)));
  }
  return ErrnoError(errno, absl::StrCat("segment broker \"", socket_name, "\": connect"));
}

absl::StatusOr<UniqueFd> ListenAsBroker(const std::string& socket_name) {
  sockaddr_un address;
  RETORT_ASSIGN_OR_RETURN(const socklen_t length, AbstractAddress(socket_name, &address));
  RETORT_ASSIGN_OR_RETURN(UniqueFd fd, NewSocket());
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
    if (errno == EADDRINUSE) {
      return absl::AlreadyExistsError(
          absl::StrCat("segment broker \"", socket_name, "\": another process serves this name"));
    }
    return ErrnoError(errno, absl::StrCat("segment broker \"", socket_name, "\": bind"));
  }
  if (listen(fd.get(), 64) != 0) return ErrnoError(errno, "segment broker: listen");
  return fd;
}

absl::Status SendPacket(int socket, absl::string_view packet) {
  const ssize_t sent = send(socket, packet.data(), packet.size(), MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(packet.size())) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("segment broker: send: ", std::strerror(errno)));
}

absl::Status SendResponse(int socket, const absl::Status& status, int fd_or_minus_1) {
  ResponsePacket packet{kMagic, static_cast<int32_t>(status.code()), {}};
  const size_t length = std::min(status.message().size(), kMaxMessageBytes - 1);
  std::memcpy(packet.message, status.message().data(), length);
  iovec part{&packet, sizeof(packet)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd_or_minus_1 >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* const c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &fd_or_minus_1, sizeof(int));
  }
  if (sendmsg(socket, &message, MSG_NOSIGNAL) == sizeof(packet)) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("segment broker: answer not sent: ", std::strerror(errno)));
}

absl::StatusOr<BrokerResponse> ReceiveResponse(int socket) {
  ResponsePacket packet{};
  iovec part{&packet, sizeof(packet)};
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (got < 0) {
    return absl::UnavailableError(absl::StrCat("segment broker: receive: ", std::strerror(errno)));
  }
  BrokerResponse response;
  response.fd = TakeDescriptor(message);
  if (got == 0) return absl::UnavailableError("segment broker closed the connection unanswered");
  if (got != sizeof(packet) || packet.magic != kMagic) {
    return absl::DataLossError("segment broker: its answer is not of this build's format");
  }
  const size_t length = strnlen(packet.message, kMaxMessageBytes);
  response.status = absl::Status(static_cast<absl::StatusCode>(packet.code),
                                 absl::string_view(packet.message, length));
  return response;
}

}  // namespace retort::ring
