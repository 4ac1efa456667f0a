// Every method of every Retort service refuses a caller without the token. The methods come from
// the proto descriptors, so a new one is tested without anyone remembering to.
#include "common/rpc/authenticate.h"

#include <vector>

#include "common/rpc/artifact_service.h"
#include "common/rpc/attach_service.h"
#include "common/rpc/channel.h"
#include "common/rpc/inference_service.h"
#include "common/rpc/server.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"
#include "retort/v1/artifact.pb.h"
#include "retort/v1/control.pb.h"
#include "retort/v1/inference.pb.h"

namespace retort::rpc {
namespace {

class AuthenticateTest : public ::testing::Test {
 protected:
  AuthenticateTest()
      : token_(AccessToken::Generate()),
        attach_(AttachService::Make(token_, [](AttachEvent) { ADD_FAILURE() << "an event"; })),
        artifacts_(MakeArtifactService(
            token_,
            [](const std::string&) -> absl::StatusOr<std::shared_ptr<const std::string>> {
              ADD_FAILURE() << "looked up";
              return absl::NotFoundError("none");
            })),
        inference_(InferenceService::Make(token_, [](const InferenceEvent&) {
          return absl::InvalidArgumentError("an empty request");
        })) {
    server_ = *Server::Start({.services = {attach_.get(), artifacts_.get(), inference_.get()}});
    channel_ = *MakeChannel(server_->address(), {});
  }

  // Sends one empty message and half-closes; the status that comes back.
  grpc::Status Call(const std::string& method, const std::vector<std::string>& tokens) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    for (const std::string& token : tokens) context.AddMetadata(kTokenMetadataKey, token);
    PrepareDeadline(&context);
    grpc::CompletionQueue queue;
    const auto call = stub.PrepareCall(&context, method, &queue);
    call->StartCall(this);
    Await(&queue);
    call->WriteLast(grpc::ByteBuffer(nullptr, 0), {}, this);
    Await(&queue);
    grpc::ByteBuffer answer;
    call->Read(&answer, this);
    Await(&queue);
    grpc::Status status;
    call->Finish(&status, this);
    Await(&queue);
    return status;
  }

  static void Await(grpc::CompletionQueue* queue) {
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue->Next(&tag, &ok));
  }

  static void PrepareDeadline(grpc::ClientContext* context) {
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  }

  static std::vector<std::string> Methods() {
    std::vector<std::string> methods;
    for (const auto* file : {v1::Hello::descriptor()->file(), v1::FetchChunk::descriptor()->file(),
                             v1::TokenIds::descriptor()->file()}) {
      for (int s = 0; s < file->service_count(); ++s) {
        for (int m = 0; m < file->service(s)->method_count(); ++m) {
          methods.push_back("/" + file->service(s)->full_name() + "/" +
                            file->service(s)->method(m)->name());
        }
      }
    }
    return methods;
  }

  const AccessToken token_;
  std::unique_ptr<AttachService> attach_;
  std::unique_ptr<Service> artifacts_;
  std::unique_ptr<InferenceService> inference_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(AuthenticateTest, EveryMethod_NoWrongOrTwoTokens_Unauthenticated) {
  ASSERT_GE(Methods().size(), 2u);
  for (const std::string& method : Methods()) {
    const std::vector<std::vector<std::string>> cases = {
        {}, {""}, {AccessToken::Generate().secret()}, {token_.secret(), token_.secret()}};
    for (const auto& tokens : cases) {
      EXPECT_EQ(Call(method, tokens).error_code(), grpc::StatusCode::UNAUTHENTICATED)
          << method << " with " << tokens.size();
    }
  }
}

TEST_F(AuthenticateTest, EveryMethod_RightToken_PassesTheCheck) {
  for (const std::string& method : Methods()) {
    EXPECT_EQ(Call(method, {token_.secret()}).error_code(), grpc::StatusCode::INVALID_ARGUMENT)
        << method;  // The empty message is refused by the handler itself.
  }
}

}  // namespace
}  // namespace retort::rpc
