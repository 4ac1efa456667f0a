#include "common/rpc/grpc_status.h"

#include "gtest/gtest.h"

namespace retort::rpc {
namespace {

TEST(GrpcStatusTest, RoundTrip_EveryCode_CodeAndMessage) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "why");
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  }
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
}

TEST(GrpcStatusTest, FromGrpc_UnknownCode_Unknown) {
  const absl::Status status = FromGrpc(grpc::Status(static_cast<grpc::StatusCode>(99), "odd"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(status.message(), "odd");
}

TEST(GrpcStatusTest, ToGrpc_LongMessage_CutAtCharacter) {
  std::string text(2047, 'a');
  text += "\xc3\xa9 and more";
  EXPECT_EQ(ToGrpc(absl::InternalError(text)).error_message(), std::string(2047, 'a'));
}

}  // namespace
}  // namespace retort::rpc
