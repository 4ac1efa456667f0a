// Many clients at once over real gRPC: every answer must be the one that a client alone gets.
#include "worker/serve/serving_loop.h"

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/file.h"
#include "common/rpc/channel.h"
#include "common/rpc/server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "retort/v1/inference.grpc.pb.h"
#include "testing/digit_model.h"
#include "testing/resident_memory.h"

namespace retort::worker {
namespace {

constexpr int64_t kContext = 64;

struct Answer {
  grpc::Status status;
  std::map<int, std::vector<int64_t>> ids;
  std::map<int, std::vector<float>> log_probs;
  std::map<int, std::string> streamed;
  std::map<int, v1::Finished> finished;
};

class ServingLoopTest : public testing::Test {
 protected:
  ServingLoopTest()
      : folder_(WriteDigitModel("serving_loop_test", kContext)),
        model_(*LoadModelFolder({.folder = folder_})) {}
  ~ServingLoopTest() override {
    Stop();
    EXPECT_TRUE(RemoveRecursively(folder_).ok());
  }

  void Serve(ServingOptions options = {}) {
    Stop();
    stop_ = false;
    loop_ = *ServingLoop::Make(model_, {}, options);
    service_ = rpc::InferenceService::Make(
        token_, [this](rpc::InferenceEvent event) { return loop_->Push(std::move(event)); });
    server_ = *rpc::Server::Start({.services = {service_.get()}});
    channel_ = *rpc::MakeChannel(server_->address(), {});
    stub_ = v1::InferenceService::NewStub(channel_);
    thread_ = std::thread(
        [this] { EXPECT_TRUE(loop_->Run(service_.get(), [this] { return stop_.load(); }).ok()); });
  }
  void Stop() {
    if (!thread_.joinable()) return;
    stop_ = true;
    thread_.join();
    server_->Shutdown(absl::Seconds(5));
  }

  void Prepare(grpc::ClientContext* context) {
    rpc::PrepareCall(token_, absl::Seconds(60), context);
  }

  Answer Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    Prepare(&context);
    const auto reader = stub_->Generate(&context, request);
    Answer answer;
    v1::GenerateEvent event;
    while (reader->Read(&event)) {
      const v1::Tokens& tokens = event.tokens();
      for (const int64_t id : tokens.ids()) answer.ids[tokens.sample()].push_back(id);
      for (const float p : tokens.log_probs()) answer.log_probs[tokens.sample()].push_back(p);
      if (event.has_tokens()) answer.streamed[tokens.sample()] += tokens.text();
      if (event.has_finished()) answer.finished[event.finished().sample()] = event.finished();
    }
    answer.status = reader->Finish();
    return answer;
  }

  // Goes away after the first token of a long answer.
  grpc::StatusCode GenerateAndLeave(v1::GenerateRequest request) {
    grpc::ClientContext context;
    Prepare(&context);
    request.mutable_sampling()->set_ignore_eos(true);
    request.mutable_sampling()->set_max_new_tokens(kContext - 8);
    const auto reader = stub_->Generate(&context, request);
    v1::GenerateEvent event;
    reader->Read(&event);
    context.TryCancel();
    while (reader->Read(&event)) continue;
    return reader->Finish().error_code();
  }

  v1::ScoreResponse Score(const v1::ScoreRequest& request) {
    grpc::ClientContext context;
    Prepare(&context);
    v1::ScoreResponse response;
    const grpc::Status status = stub_->Score(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  const std::string folder_;
  const LoadedModel model_;
  const rpc::AccessToken token_ = rpc::AccessToken::Generate();
  std::unique_ptr<ServingLoop> loop_;
  std::unique_ptr<rpc::InferenceService> service_;
  std::unique_ptr<rpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

v1::GenerateRequest RequestOf(int client) {
  v1::GenerateRequest request;
  request.mutable_prompt()->set_text(
      std::string(1 + client % 7, static_cast<char>('0' + client % 10)));
  request.set_samples(1 + client % 3);
  request.mutable_sampling()->set_seed(client);
  request.mutable_sampling()->set_max_new_tokens(4 + client % 29);
  if (client % 4 == 0) request.mutable_sampling()->set_temperature(0);
  if (client % 5 == 0) request.mutable_sampling()->set_top_k(3);
  if (client % 6 == 0) request.mutable_sampling()->set_ignore_eos(true);
  if (client % 7 == 0) request.mutable_sampling()->add_stop("7");
  return request;
}

v1::ScoreRequest ScoreRequestOf(int client) {
  v1::ScoreRequest request;
  request.mutable_prompt()->set_text(std::string(1 + client % 5, '3'));
  request.set_text(std::string(1 + client % 11, static_cast<char>('0' + client % 10)));
  return request;
}

TEST_F(ServingLoopTest, SixtyFourClients_SomeGoneSomeLate_AnswersAsAlone) {
  constexpr int kClients = 64;
  Serve({.engine = {.max_batch = 1}});
  std::vector<Answer> alone;
  std::vector<v1::ScoreResponse> scores_alone;
  for (int client = 0; client < kClients; ++client) {
    alone.push_back(Generate(RequestOf(client)));
    scores_alone.push_back(Score(ScoreRequestOf(client)));
  }
  Serve({.engine = {.max_batch = 24, .max_prefill_tokens = 16}});
  std::atomic<int> cancelled{0}, late{0};
  std::vector<std::thread> clients;
  for (int client = 0; client < kClients; ++client) {
    clients.emplace_back([&, client] {
      for (int round = 0; round < 3; ++round) {
        if (client % 8 == 3) {
          cancelled += GenerateAndLeave(RequestOf(client)) == grpc::StatusCode::CANCELLED;
        } else if (client % 8 == 5) {  // Has no time.
          grpc::ClientContext context;
          rpc::PrepareCall(token_, absl::Microseconds(200), &context);
          const auto reader = stub_->Generate(&context, RequestOf(client));
          v1::GenerateEvent event;
          while (reader->Read(&event)) continue;
          late += reader->Finish().error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
        }
        const Answer answer = Generate(RequestOf(client));
        EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
        EXPECT_EQ(answer.ids, alone[client].ids) << client;
        EXPECT_EQ(answer.log_probs, alone[client].log_probs) << client;
        const v1::ScoreResponse scores = Score(ScoreRequestOf(client));
        ASSERT_EQ(scores.log_probs_size(), scores_alone[client].log_probs_size());
        for (int i = 0; i < scores.log_probs_size(); ++i) {
          EXPECT_NEAR(scores.log_probs(i), scores_alone[client].log_probs(i), 1e-5) << client;
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GT(cancelled, 0);
  EXPECT_GT(late, 0);
}

// What each request leaves behind adds up: 400 bytes of each are 2 % of a process of 180 MB.
TEST_F(ServingLoopTest, TenThousandRequests_MemoryStaysThatOfTheFirstThousand) {
  if (kKeepsFreedMemory) GTEST_SKIP() << "sanitizers keep freed memory";
  constexpr int kClients = 16;
  Serve({.engine = {.max_batch = 16}});
  const auto send = [&](int requests) {
    std::vector<std::thread> clients;
    for (int client = 0; client < kClients; ++client) {
      clients.emplace_back([&, client] {
        for (int i = client; i < requests; i += kClients) {
          if (i % 32 == 0) {
            GenerateAndLeave(RequestOf(i));
          } else if (i % 4 == 0) {
            EXPECT_TRUE(Generate(RequestOf(i)).status.ok());
          } else {
            Score(ScoreRequestOf(i));
          }
        }
      });
    }
    for (std::thread& client : clients) client.join();
  };
  send(1000);
  const int64_t early = ResidentPages();
  send(9000);
  EXPECT_LE(ResidentPages(), early * 1.02) << "pages; after 1,000 requests " << early;
}

TEST_F(ServingLoopTest, Generate_Streamed_TextAndReasonsFit) {
  Serve();
  for (int client = 0; client < 24; ++client) {
    const v1::GenerateRequest request = RequestOf(client);
    const Answer answer = Generate(request);
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    ASSERT_EQ(static_cast<int>(answer.finished.size()), request.samples());
    for (const auto& [sample, finished] : answer.finished) {
      const std::vector<int64_t>& ids = answer.ids.at(sample);
      EXPECT_EQ(answer.streamed.at(sample), finished.text());
      EXPECT_EQ(finished.generated_tokens(), static_cast<int64_t>(ids.size()));
      const std::string whole = *model_.tokenizer->Decode(ids, /*skip_special_tokens=*/true);
      if (finished.reason() == v1::FINISH_REASON_STOP) {
        EXPECT_EQ(whole, finished.text() + "7");
      } else {
        EXPECT_EQ(whole, finished.text());
        EXPECT_EQ(finished.reason() == v1::FINISH_REASON_EOS, ids.back() == 10);
      }
    }
  }
}

TEST_F(ServingLoopTest, Score_OfWhatWasGenerated_ItsLogProbs) {
  Serve();
  v1::GenerateRequest request = RequestOf(9);
  request.set_samples(1);
  request.set_top_log_probs(11);
  grpc::ClientContext context;
  Prepare(&context);
  const auto reader = stub_->Generate(&context, request);
  v1::ScoreRequest score;
  std::vector<float> drawn;
  v1::GenerateEvent event;
  while (reader->Read(&event)) {
    for (const int64_t id : event.started().prompt_ids()) {
      score.mutable_prompt()->mutable_tokens()->add_ids(id);
    }
    for (const int64_t id : event.tokens().ids()) score.mutable_tokens()->add_ids(id);
    for (const float p : event.tokens().log_probs()) drawn.push_back(p);
    if (!event.has_tokens()) continue;
    ASSERT_EQ(event.tokens().top(0).top_size(), 11);
    float last = 0;
    for (const v1::TokenLogProb& top : event.tokens().top(0).top()) {
      EXPECT_LE(top.log_prob(), last);
      last = top.log_prob();
      if (top.id() == event.tokens().ids(0)) {
        EXPECT_EQ(top.log_prob(), event.tokens().raw_log_probs(0));
      }
    }
  }
  score.set_top_log_probs(3);
  const v1::ScoreResponse response = Score(score);
  const int prompt = score.prompt().tokens().ids_size();
  ASSERT_EQ(response.log_probs_size(), prompt + static_cast<int>(drawn.size()));
  for (int i = 0; i < response.log_probs_size(); ++i) {
    EXPECT_EQ(response.mask(i), i >= prompt);
    EXPECT_NEAR(response.log_probs(i), i < prompt ? 0 : drawn[i - prompt], 1e-5);
    EXPECT_EQ(response.top(i).top_size(), i < prompt ? 0 : 3);
  }
}

TEST_F(ServingLoopTest, Waiting_TooMany_RefusedAndOthersServed) {
  Serve({.engine = {.max_batch = 1}, .waiting = {.requests = 2}});
  std::atomic<int> refused{0}, served{0};
  std::vector<std::thread> clients;
  for (int client = 0; client < 32; ++client) {
    clients.emplace_back([&, client] {
      const Answer answer = Generate(RequestOf(client));
      if (answer.status.ok()) ++served;
      if (answer.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) ++refused;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(served + refused, 32);
  EXPECT_GT(served, 2);
  EXPECT_GT(refused, 0);
}

TEST_F(ServingLoopTest, BadRequest_InvalidArgumentAndTheServerGoesOn) {
  Serve();
  v1::GenerateRequest bad;
  bad.mutable_prompt()->set_text("abc");
  EXPECT_EQ(Generate(bad).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(Generate(RequestOf(1)).status.ok());
}

}  // namespace
}  // namespace retort::worker
