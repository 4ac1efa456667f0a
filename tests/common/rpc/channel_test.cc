#include "common/rpc/channel.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "grpcpp/channel.h"
#include "gtest/gtest.h"

namespace retort::rpc {
namespace {

TEST(ChannelTest, MakeChannel_OffLoopbackWithoutTls_FailedPrecondition) {
  EXPECT_EQ(MakeChannel("10.0.0.1:80", {}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ChannelTest, MakeChannel_BadAddress_InvalidArgument) {
  EXPECT_EQ(MakeChannel("127.0.0.1:0", {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeChannel("nonsense", {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ChannelTest, MakeChannel_MissingCaFile_NamesTheFile) {
  const absl::Status status =
      MakeChannel("10.0.0.1:80", {.ca_file = "/nonexistent/ca.pem"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(status.message().find("/nonexistent/ca.pem"), absl::string_view::npos);
}

// Listens on a free port of the loopback and never answers: the kernel completes connections.
class SilentPeer {
 public:
  SilentPeer() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 64), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentPeer() { close(listener_); }

  int port() const { return port_; }

  // Connections made so far.
  int Accepted() const {
    int count = 0;
    for (int one; (one = accept(listener_, nullptr, nullptr)) >= 0; ++count) close(one);
    return count;
  }

 private:
  int listener_;
  int port_ = 0;
};

TEST(ChannelTest, MakeChannel_PeerSlowToShakeHands_OneAttemptGoesOn) {
  const SilentPeer peer;
  const auto channel = *MakeChannel(absl::StrCat("127.0.0.1:", peer.port()), {});
  EXPECT_FALSE(
      channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(1)));
  EXPECT_EQ(peer.Accepted(), 1);
}

TEST(ChannelCacheTest, Get_SameAddress_SameChannelUntilForgotten) {
  ChannelCache cache(AccessToken::Generate(), {});
  const auto first = *cache.Get("127.0.0.1:1");
  EXPECT_EQ(*cache.Get("127.0.0.1:1"), first);
  cache.Forget("127.0.0.1:1");
  EXPECT_NE(*cache.Get("127.0.0.1:1"), first);
}

TEST(ChannelCacheTest, Get_MoreThanTheBound_LeastRecentlyUsedGoes) {
  ChannelCache cache(AccessToken::Generate(), {});
  const auto kept = *cache.Get("127.0.0.1:1");
  const auto dropped = *cache.Get("127.0.0.1:2");
  for (int port = 3; port <= ChannelCache::kMaxChannels + 1; ++port) {
    ASSERT_TRUE(cache.Get("127.0.0.1:1").ok());
    ASSERT_TRUE(cache.Get(absl::StrCat("127.0.0.1:", port)).ok());
  }
  EXPECT_EQ(*cache.Get("127.0.0.1:1"), kept);
  EXPECT_NE(*cache.Get("127.0.0.1:2"), dropped);
}

}  // namespace
}  // namespace retort::rpc
