#include "common/rpc/inference_service.h"

#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "common/base/mutex.h"
#include "common/rpc/channel.h"
#include "gmock/gmock.h"
#include "retort/v1/inference.grpc.pb.h"

namespace retort::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::GenerateEvent TokenEvent(int64_t id, size_t text_bytes = 0) {
  v1::GenerateEvent event;
  event.mutable_tokens()->add_ids(id);
  event.mutable_tokens()->set_text(std::string(text_bytes, 'x'));
  return event;
}

class InferenceServiceTest : public ::testing::Test {
 protected:
  void Serve(const InferenceServiceOptions& options = {}) {
    service_ = InferenceService::Make(
        token_, [this](InferenceEvent event) { return Push(std::move(event)); }, options);
    server_ = *Server::Start({.services = {service_.get()}});
    channel_ = *MakeChannel(server_->address(), {});
    stub_ = v1::InferenceService::NewStub(channel_);
  }

  absl::Status Push(InferenceEvent event) {
    MutexLock lock(&mutex_);
    if (refusal_.ok() || std::holds_alternative<CallEnded>(event)) {
      events_.push_back(std::move(event));
      changed_.NotifyAll();
    }
    return refusal_;
  }
  template <typename Event>
  Event Next() {
    MutexLock lock(&mutex_);
    while (events_.empty()) {
      if (changed_.WaitWithTimeout(&mutex_, absl::Seconds(30))) break;
    }
    if (events_.empty() || !std::holds_alternative<Event>(events_.front())) {
      ADD_FAILURE() << "another event, or none";
      return Event{};
    }
    Event event = std::get<Event>(std::move(events_.front()));
    events_.pop_front();
    return event;
  }

  struct Generation {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::GenerateEvent>> reader;

    // Ids in the order they came, to the end.
    std::vector<int64_t> Ids() {
      std::vector<int64_t> ids;
      v1::GenerateEvent event;
      while (reader->Read(&event)) ids.push_back(event.tokens().ids(0));
      return ids;
    }
  };
  std::unique_ptr<Generation> Generate(absl::Duration deadline = absl::Seconds(30)) {
    auto generation = std::make_unique<Generation>();
    PrepareCall(token_, deadline, &generation->context);
    v1::GenerateRequest request;
    request.mutable_prompt()->set_text("hello");
    generation->reader = stub_->Generate(&generation->context, request);
    return generation;
  }

  const AccessToken token_ = AccessToken::Generate();
  Mutex mutex_;
  CondVar changed_;
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  std::deque<InferenceEvent> events_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<InferenceService> service_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

TEST_F(InferenceServiceTest, Generate_EventsThenFinish_ReachTheClientInOrder) {
  Serve();
  const auto generation = Generate();
  const auto called = Next<GenerateCalled>();
  EXPECT_EQ(called.request.prompt().text(), "hello");
  for (int64_t id = 0; id < 100; ++id) {
    ASSERT_TRUE(service_->Send(called.call, TokenEvent(id)).ok());
  }
  service_->Finish(called.call, absl::OkStatus());
  const std::vector<int64_t> ids = generation->Ids();
  ASSERT_EQ(ids.size(), 100u);
  for (int64_t id = 0; id < 100; ++id) EXPECT_EQ(ids[id], id);
  EXPECT_TRUE(generation->reader->Finish().ok());
  EXPECT_EQ(Next<CallEnded>().call, called.call);
  EXPECT_EQ(service_->Send(called.call, TokenEvent(1)).code(), absl::StatusCode::kNotFound);
}

TEST_F(InferenceServiceTest, Generate_FinishedWithAnError_TheClientSeesIt) {
  Serve();
  const auto generation = Generate();
  service_->Finish(Next<GenerateCalled>().call, absl::InvalidArgumentError("prompt is empty"));
  EXPECT_THAT(generation->Ids(), ElementsAre());
  const grpc::Status status = generation->reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("prompt is empty"));
}

TEST_F(InferenceServiceTest, Score_Answered_ReachesTheClient) {
  Serve();
  std::thread answer([this] {
    const auto called = Next<ScoreCalled>();
    EXPECT_EQ(called.request.text(), "abc");
    EXPECT_EQ(service_->Send(called.call, TokenEvent(1)).code(),
              absl::StatusCode::kFailedPrecondition);
    v1::ScoreResponse response;
    response.add_log_probs(-1.5f);
    EXPECT_TRUE(service_->Answer(called.call, response).ok());
    EXPECT_EQ(Next<CallEnded>().call, called.call);
    EXPECT_EQ(service_->Answer(called.call, response).code(), absl::StatusCode::kNotFound);
  });
  grpc::ClientContext context;
  PrepareCall(token_, absl::Seconds(30), &context);
  v1::ScoreRequest request;
  request.set_text("abc");
  v1::ScoreResponse response;
  const grpc::Status status = stub_->Score(&context, request, &response);
  answer.join();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_THAT(response.log_probs(), ElementsAre(-1.5f));
}

TEST_F(InferenceServiceTest, Generate_ClientCancels_CallEnds) {
  Serve();
  const auto generation = Generate();
  const auto called = Next<GenerateCalled>();
  generation->context.TryCancel();
  EXPECT_EQ(Next<CallEnded>().call, called.call);
  EXPECT_EQ(service_->Send(called.call, TokenEvent(1)).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(generation->reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(InferenceServiceTest, Generate_DeadlinePasses_CallEnds) {
  Serve();
  const auto generation = Generate(absl::Milliseconds(50));
  const auto called = Next<GenerateCalled>();
  EXPECT_EQ(Next<CallEnded>().call, called.call);
  EXPECT_EQ(generation->reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(InferenceServiceTest, Generate_ReaderDoesNotRead_ResourceExhausted) {
  Serve({.max_buffered_bytes = 1 << 20});
  const auto generation = Generate();
  const auto called = Next<GenerateCalled>();
  absl::Status status;
  // The network takes some MiB before the buffer begins to fill.
  for (int i = 0; i < 4096 && status.ok(); ++i) {
    status = service_->Send(called.call, TokenEvent(i, 64 << 10));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  generation->Ids();
  EXPECT_EQ(generation->reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Next<CallEnded>().call, called.call);
}

TEST_F(InferenceServiceTest, Generate_TooManyOpen_RefusedUntilOneEnds) {
  Serve({.max_calls = 1});
  const auto first = Generate();
  const auto called = Next<GenerateCalled>();
  const auto second = Generate();
  EXPECT_EQ(second->reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  service_->Finish(called.call, absl::OkStatus());
  EXPECT_TRUE(first->reader->Finish().ok());
  Next<CallEnded>();
  const auto third = Generate();
  service_->Finish(Next<GenerateCalled>().call, absl::OkStatus());
  EXPECT_TRUE(third->reader->Finish().ok());
}

TEST_F(InferenceServiceTest, Generate_SinkRefuses_TheClientSeesItAndNoEndIsTold) {
  Serve();
  {
    MutexLock lock(&mutex_);
    refusal_ = absl::ResourceExhaustedError("too much waits");
  }
  const auto refused = Generate();
  const grpc::Status status = refused->reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("too much waits"));
  {
    MutexLock lock(&mutex_);
    refusal_ = absl::OkStatus();
  }
  const auto generation = Generate();
  service_->Finish(Next<GenerateCalled>().call, absl::OkStatus());  // Not the other's CallEnded.
  EXPECT_TRUE(generation->reader->Finish().ok());
}

TEST_F(InferenceServiceTest, Shutdown_OpenCalls_Unavailable) {
  Serve();
  const auto generation = Generate();
  const auto called = Next<GenerateCalled>();
  server_->Shutdown(absl::Seconds(5));
  EXPECT_EQ(generation->reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Next<CallEnded>().call, called.call);
}

}  // namespace
}  // namespace retort::rpc
