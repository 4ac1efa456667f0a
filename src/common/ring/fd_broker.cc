#include "common/ring/fd_broker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/ring/broker_protocol.h"

namespace retort::ring {
namespace {

constexpr size_t kMaxConnections = 64;                        // More wait in the listen queue.
constexpr absl::Duration kRequestTimeout = absl::Seconds(2);  // A client sends its packet at once.

// Takes the same time wherever the texts differ first.
bool SameToken(absl::string_view a, absl::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

absl::Status CheckPeerUser(int connection) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return ErrnoError(errno, "segment broker: SO_PEERCRED");
  }
  if (peer.uid == geteuid()) return absl::OkStatus();
  return absl::UnauthenticatedError(absl::StrCat("segment broker: process ", peer.pid, " of user ",
                                                 peer.uid, "; only user ", geteuid(),
                                                 " is served"));
}

absl::StatusOr<UniqueFd> NewSealedMemory(const std::string& name, int64_t bytes) {
  UniqueFd fd(memfd_create(name.substr(0, 200).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return ErrnoError(errno, absl::StrCat("segment ", name, ": memfd_create"));
  if (ftruncate(fd.get(), bytes) != 0) {
    return ErrnoError(errno, absl::StrCat("segment ", name, ": ", bytes, " bytes"));
  }
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
    return ErrnoError(errno, absl::StrCat("segment ", name, ": sealing"));
  }
  return fd;
}

class Server final : public FdBroker {
 public:
  Server(FdBrokerOptions options, UniqueFd listener, UniqueFd stop)
      : options_(std::move(options)), listener_(std::move(listener)), stop_(std::move(stop)) {
    thread_ = std::thread([this] { Serve(); });
  }
  ~Server() override {
    const uint64_t one = 1;
    if (write(stop_.get(), &one, sizeof(one)) != sizeof(one)) {
      LogError("segment broker cannot stop error={}", std::strerror(errno));
    }
    thread_.join();
  }

  int Drop(absl::string_view prefix) override {
    MutexLock lock(&mutex_);
    const size_t before = segments_.size();
    std::erase_if(segments_,
                  [&](const auto& entry) { return absl::StartsWith(entry.first, prefix); });
    return static_cast<int>(before - segments_.size());
  }

  int segment_count() const override {
    MutexLock lock(&mutex_);
    return static_cast<int>(segments_.size());
  }

 private:
  struct Connection {
    UniqueFd fd;
    absl::Duration end;  // Closed unanswered after this time.
  };
  struct MemorySegment {
    UniqueFd fd;
    int64_t bytes = 0;
  };

  void Serve();
  void Accept();
  void Answer(int connection);
  // The descriptor to send, still owned by the table, or -1 for a Drop.
  absl::StatusOr<UniqueFd> Handle(int connection);
  absl::StatusOr<UniqueFd> Open(const BrokerRequest& request);

  const FdBrokerOptions options_;
  const UniqueFd listener_;
  const UniqueFd stop_;
  std::vector<Connection> connections_;  // The thread's own.
  mutable Mutex mutex_;
  std::map<std::string, MemorySegment> segments_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

void Server::Serve() {
  while (true) {
    std::vector<pollfd> waits;
    waits.push_back({stop_.get(), POLLIN, 0});
    const bool has_room = connections_.size() < kMaxConnections;
    waits.push_back({has_room ? listener_.get() : -1, POLLIN, 0});
    for (const Connection& c : connections_) waits.push_back({c.fd.get(), POLLIN, 0});
    const int timeout_ms = connections_.empty() ? -1 : 100;
    if (poll(waits.data(), waits.size(), timeout_ms) < 0 && errno != EINTR) {
      LogError("segment broker stops error={}", std::strerror(errno));
      return;
    }
    if (waits[0].revents != 0) return;
    const absl::Duration now = Clock::Real()->Now();
    for (size_t i = 0; i < connections_.size(); ++i) {
      Connection& c = connections_[i];
      if (waits[i + 2].revents != 0) Answer(c.fd.get());
      if (waits[i + 2].revents != 0 || now > c.end) c.fd.Reset();
    }
    std::erase_if(connections_, [](const Connection& c) { return !c.fd.valid(); });
    if (waits[1].revents != 0) Accept();
  }
}

void Server::Accept() {
  UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd.valid()) {
    if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
      LogWarning("segment broker refused a connection error={}", std::strerror(errno));
    }
    return;
  }
  connections_.push_back({std::move(fd), Clock::Real()->Now() + kRequestTimeout});
}

void Server::Answer(int connection) {
  const absl::StatusOr<UniqueFd> result = Handle(connection);
  if (!result.ok())
    LogWarning("segment broker refused a request error={}", result.status().ToString());
  // A client that died meanwhile needs no answer.
  SendResponse(connection, result.status(), result.ok() ? result->get() : -1).IgnoreError();
}

absl::StatusOr<UniqueFd> Server::Handle(int connection) {
  RETORT_RETURN_IF_ERROR(CheckPeerUser(connection));
  char packet[kMaxRequestPacketBytes];
  // recv, not recvmsg: descriptors that a client attaches are dropped by the kernel.
  const ssize_t got = recv(connection, packet, sizeof(packet), MSG_TRUNC);
  if (got < 0) return ErrnoError(errno, "segment broker: receive");
  if (got > static_cast<ssize_t>(sizeof(packet))) {
    return absl::InvalidArgumentError(
        absl::StrCat("broker request of ", got, " bytes; at most ", sizeof(packet)));
  }
  RETORT_ASSIGN_OR_RETURN(const BrokerRequest request,
                          DecodeRequest(absl::string_view(packet, static_cast<size_t>(got))));
  if (!SameToken(request.token, options_.token)) {
    return absl::UnauthenticatedError("segment broker: wrong token; use the run's token file");
  }
  if (request.operation == BrokerOperation::kOpen) return Open(request);
  Drop(request.name);
  return UniqueFd();
}

absl::StatusOr<UniqueFd> Server::Open(const BrokerRequest& request) {
  MutexLock lock(&mutex_);
  auto it = segments_.find(request.name);
  if (it == segments_.end()) {
    if (static_cast<int>(segments_.size()) >= options_.max_segments) {
      return absl::ResourceExhaustedError(absl::StrCat("segment broker holds ", segments_.size(),
                                                       " segments, its limit; ", request.name,
                                                       " is refused"));
    }
    if (request.bytes > options_.max_segment_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat("segment ", request.name, ": ",
                                                       request.bytes, " bytes; at most ",
                                                       options_.max_segment_bytes));
    }
    RETORT_ASSIGN_OR_RETURN(UniqueFd memory, NewSealedMemory(request.name, request.bytes));
    it = segments_.emplace(request.name, MemorySegment{std::move(memory), request.bytes}).first;
  }
  if (it->second.bytes != request.bytes) {
    return absl::InvalidArgumentError(absl::StrCat("segment ", request.name, " exists with ",
                                                   it->second.bytes, " bytes; ", request.bytes,
                                                   " were asked for"));
  }
  // A duplicate: another thread may drop the name before the answer is sent.
  UniqueFd copy(fcntl(it->second.fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return ErrnoError(errno, absl::StrCat("segment ", request.name, ": dup"));
  return copy;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FdBroker>> FdBroker::Start(const FdBrokerOptions& options) {
  if (options.token.empty() || options.token.size() > kMaxTokenBytes) {
    return absl::InvalidArgumentError(absl::StrCat("segment broker token has ",
                                                   options.token.size(), " bytes; expected 1 to ",
                                                   kMaxTokenBytes));
  }
  RETORT_ASSIGN_OR_RETURN(UniqueFd listener, ListenAsBroker(options.socket));
  UniqueFd stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop.valid()) return ErrnoError(errno, "segment broker: eventfd");
  return std::make_unique<Server>(options, std::move(listener), std::move(stop));
}

}  // namespace retort::ring
