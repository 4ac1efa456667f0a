#include "common/rpc/channel.h"

#include "absl/strings/str_cat.h"
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
