#include "common/rpc/server.h"

#include <cstdlib>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/rpc/artifact_fetch.h"
#include "common/rpc/artifact_service.h"
#include "common/rpc/channel.h"
#include "gtest/gtest.h"

namespace retort::rpc {
namespace {

std::unique_ptr<Service> OneArtifact(const AccessToken& token) {
  return MakeArtifactService(token, [](const std::string&) {
    return absl::StatusOr<std::shared_ptr<const std::string>>(
        std::make_shared<const std::string>("hello"));
  });
}

v1::ArtifactRef HelloAt(const std::string& address) {
  v1::ArtifactRef ref;
  ref.set_artifact_id("a");
  ref.set_address(address);
  ref.set_digest(DigestOf("hello").ToHex());
  ref.set_bytes(5);
  return ref;
}

TEST(ServerTest, Start_PortZero_BoundPortInAddress) {
  const auto service = OneArtifact(AccessToken::Generate());
  const auto server = Server::Start({.listen = "127.0.0.1:0", .services = {service.get()}});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_GT((*server)->port(), 0);
  EXPECT_EQ((*server)->address(), "127.0.0.1:" + std::to_string((*server)->port()));
}

TEST(ServerTest, Start_PortInUse_Unavailable) {
  const auto service = OneArtifact(AccessToken::Generate());
  const auto server = Server::Start({.services = {service.get()}});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto other = OneArtifact(AccessToken::Generate());
  EXPECT_EQ(
      Server::Start({.listen = (*server)->address(), .services = {other.get()}}).status().code(),
      absl::StatusCode::kUnavailable);
}

TEST(ServerTest, Start_OffLoopbackWithoutTls_FailedPrecondition) {
  EXPECT_EQ(Server::Start({.listen = "0.0.0.0:0"}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(ServerTest, Start_MissingCertificate_NamesTheFile) {
  const absl::Status status = Server::Start({.listen = "127.0.0.1:0",
                                             .tls = {.certificate_file = "/nonexistent/c.pem",
                                                     .key_file = "/nonexistent/k"}})
                                  .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(status.message().find("/nonexistent/c.pem"), absl::string_view::npos);
}

TEST(ServerTest, Shutdown_Twice_Returns) {
  const auto service = OneArtifact(AccessToken::Generate());
  const auto server = Server::Start({.services = {service.get()}});
  ASSERT_TRUE(server.ok()) << server.status();
  (*server)->Shutdown(absl::Seconds(1));
  (*server)->Shutdown(absl::Seconds(1));
}

TEST(ServerTest, Tls_OnlyWithTheRightCa_Fetches) {
  const std::string dir = ::testing::TempDir() + "/tls";
  ASSERT_TRUE(RemoveRecursively(dir).ok());
  ASSERT_TRUE(MakeDirectories(dir).ok());
  for (const char* name : {"own", "stranger"}) {
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
        "/CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout " +
        dir + "/" + name + ".key -out " + dir + "/" + name + ".pem 2>/dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  const TlsFiles server_tls = {dir + "/own.pem", dir + "/own.key", dir + "/own.pem"};
  const AccessToken token = AccessToken::Generate();
  const auto service = OneArtifact(token);
  // 0.0.0.0 is off loopback: allowed with TLS.
  const auto server =
      Server::Start({.listen = "0.0.0.0:0", .tls = server_tls, .services = {service.get()}});
  ASSERT_TRUE(server.ok()) << server.status();
  const v1::ArtifactRef ref = HelloAt("127.0.0.1:" + std::to_string((*server)->port()));

  ChannelCache mutual(token, server_tls);
  const auto fetched = FetchArtifact(ref, mutual, absl::Seconds(20));
  ASSERT_TRUE(fetched.ok()) << fetched.status();
  EXPECT_EQ(*fetched, "hello");

  ChannelCache no_certificate(token, {.ca_file = dir + "/own.pem"});
  EXPECT_FALSE(FetchArtifact(ref, no_certificate, absl::Seconds(20)).ok());
  ChannelCache wrong_ca(token, {dir + "/own.pem", dir + "/own.key", dir + "/stranger.pem"});
  EXPECT_FALSE(FetchArtifact(ref, wrong_ca, absl::Seconds(20)).ok());
  ChannelCache wrong_token(AccessToken::Generate(), server_tls);
  EXPECT_EQ(FetchArtifact(ref, wrong_token, absl::Seconds(20)).status().code(),
            absl::StatusCode::kUnauthenticated);
}

}  // namespace
}  // namespace retort::rpc
