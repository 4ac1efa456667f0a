#include "common/rpc/endpoint.h"

#include "gtest/gtest.h"

namespace retort::rpc {
namespace {

TEST(EndpointTest, Parse_Valid_HostPortLoopback) {
  struct Case {
    const char* text;
    const char* host;
    int port;
    bool loopback;
  };
  const Case cases[] = {
      {"127.0.0.1:7070", "127.0.0.1", 7070, true},
      {"127.1.2.3:0", "127.1.2.3", 0, true},
      {"[::1]:80", "::1", 80, true},
      {"localhost:80", "localhost", 80, true},
      {"0.0.0.0:80", "0.0.0.0", 80, false},
      {"[::]:80", "::", 80, false},
      {"10.0.0.1:65535", "10.0.0.1", 65535, false},
      {"node-3.example:1", "node-3.example", 1, false},
      {"localhost.evil.example:1", "localhost.evil.example", 1, false},
  };
  for (const Case& c : cases) {
    const absl::StatusOr<Endpoint> endpoint = ParseEndpoint(c.text);
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    EXPECT_EQ(endpoint->host, c.host);
    EXPECT_EQ(endpoint->port, c.port);
    EXPECT_EQ(endpoint->IsLoopback(), c.loopback) << c.text;
    EXPECT_EQ(endpoint->ToString(), c.text);
  }
}

TEST(EndpointTest, Parse_Malformed_InvalidArgument) {
  for (const char* text :
       {"", "host", ":80", "host:", "host:x", "host:-1", "host:65536", "host:+80", "::1:80",
        "[::1:80", "[]:80", "[zz]:80", "ho st:80", "a/b:80", "unix:/tmp/x:1", "host:000080"}) {
    EXPECT_EQ(ParseEndpoint(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(ParseEndpoint(std::string(300, 'h') + ":80").ok());
}

TEST(EndpointTest, CheckListen_OffLoopback_NeedsTls) {
  const Endpoint loopback = *ParseEndpoint("127.0.0.1:0");
  const Endpoint remote = *ParseEndpoint("0.0.0.0:0");
  EXPECT_TRUE(CheckListen(loopback, {}).ok());
  EXPECT_EQ(CheckListen(remote, {}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(CheckListen(remote, {.certificate_file = "c", .key_file = "k"}).ok());
  EXPECT_EQ(CheckListen(remote, {.ca_file = "ca"}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(CheckListen(loopback, {.certificate_file = "c"}).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::rpc
