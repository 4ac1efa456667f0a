// What the loop does in which order, without a network: calls and their ends are put into its
// queue, and what it sends is written down.
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "testing/digit_model.h"
#include "worker/serve/serving_loop.h"

namespace retort::worker {
namespace {

class RecordingService : public rpc::InferenceService {
 public:
  grpc::Service* AsGrpc() override { return nullptr; }
  void Accept(grpc::ServerCompletionQueue*) override {}
  rpc::OpenCalls& calls() override { return calls_; }
  absl::Status Send(rpc::InferenceCallId call, const v1::GenerateEvent& event) override {
    if (event.has_tokens()) sent.push_back(absl::StrCat("token ", call));
    if (event.has_tokens() && gone.contains(call)) return absl::NotFoundError("gone");
    return absl::OkStatus();
  }
  void Finish(rpc::InferenceCallId call, const absl::Status& status) override {
    ended[call] = status;
    if (on_finish) on_finish(call);
  }
  absl::Status Answer(rpc::InferenceCallId call, const v1::ScoreResponse&) override {
    sent.push_back(absl::StrCat("score ", call));
    ended[call] = absl::OkStatus();
    return absl::OkStatus();
  }

  std::set<rpc::InferenceCallId> gone;  // Clients that went away before their first token.
  std::function<void(rpc::InferenceCallId)> on_finish;
  std::vector<std::string> sent;
  std::map<rpc::InferenceCallId, absl::Status> ended;

 private:
  rpc::OpenCalls calls_;
};

class ServingTurnsTest : public testing::Test {
 protected:
  ~ServingTurnsTest() override { EXPECT_TRUE(RemoveRecursively(folder_).ok()); }

  void Make(const ServingOptions& options) { loop_ = *ServingLoop::Make(model_, {}, options); }
  void Generate(rpc::InferenceCallId call, int tokens, int prompt = 3) {
    v1::GenerateRequest request;
    request.mutable_prompt()->set_text(std::string(prompt, '1'));
    request.mutable_sampling()->set_max_new_tokens(tokens);
    request.mutable_sampling()->set_ignore_eos(true);
    EXPECT_TRUE(loop_->Push(rpc::GenerateCalled{call, request, "peer"}).ok());
  }
  void Score(rpc::InferenceCallId call) {  // Of eight tokens.
    v1::ScoreRequest request;
    request.mutable_prompt()->set_text("1");
    request.set_text("2222222");
    EXPECT_TRUE(loop_->Push(rpc::ScoreCalled{call, request, "peer"}).ok());
  }
  void RunUntil(const std::function<bool()>& done) {
    EXPECT_TRUE(loop_->Run(&service_, done).ok());
  }
  bool Ended(rpc::InferenceCallId call) const { return service_.ended.contains(call); }

  const std::string folder_ = WriteDigitModel("serving_turns_test", 128);
  const LoadedModel model_ = *LoadModelFolder({.folder = folder_});
  RecordingService service_;
  std::unique_ptr<ServingLoop> loop_;
};

TEST_F(ServingTurnsTest, ClientsGoneAsTheirLastTokenIsSent_LeaveTheirRoom) {
  Make({.engine = {.max_batch = 4}});
  service_.gone = {1, 2, 3, 4};
  for (const int call : {1, 2, 3, 4, 5}) Generate(call, 1);
  RunUntil([&] { return Ended(5); });
  EXPECT_TRUE(service_.ended[5].ok()) << service_.ended[5];
}

TEST_F(ServingTurnsTest, ScoresThatFillTheLine_OneBatchBetweenTwoTokens) {
  ServingOptions options{.engine = {.max_batch = 4}, .max_score_tokens = 8};
  options.waiting.requests = 2;
  Make(options);
  Generate(1, 40);
  bool pushed = false;
  RunUntil([&] {
    if (!pushed && service_.sent.size() > 3) {
      for (int call = 2; call < 40; ++call) Score(call);
      pushed = true;
    }
    return service_.ended.size() == 39;
  });
  int scores = 0, in_a_row = 0;
  for (const std::string& event : service_.sent) {
    in_a_row = event.starts_with("score") ? in_a_row + 1 : 0;
    EXPECT_LE(in_a_row, 1);
    scores += in_a_row;
  }
  EXPECT_GE(scores, 3);  // One at once, two that waited; the others were refused.
  EXPECT_EQ(service_.ended[39].code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ServingTurnsTest, CancelledScores_AreNotComputed) {
  ServingOptions options{.engine = {.max_batch = 4}};
  options.waiting.requests = 1;  // The first two have left the line when the third is there.
  Make(options);
  for (const int call : {1, 2, 3}) Score(call);
  Generate(4, 1, /*prompt=*/20000);  // Beyond the context: refused when the others are known.
  service_.on_finish = [&](rpc::InferenceCallId) {
    for (const rpc::InferenceCallId call : {1, 3}) {
      EXPECT_TRUE(loop_->Push(rpc::CallEnded{call}).ok());
    }
  };
  RunUntil([&] { return Ended(2); });
  EXPECT_THAT(service_.sent, testing::ElementsAre("score 2"));
}

// Each refusal brings the next call: the queue is never empty.
TEST_F(ServingTurnsTest, CallsWithoutEnd_OthersGetTheirTokens) {
  Make({.engine = {.max_batch = 2}});
  rpc::InferenceCallId next = 1000;
  bool over = false;
  service_.on_finish = [&](rpc::InferenceCallId call) {
    if (call >= 1000 && !over) Generate(next++, 1, /*prompt=*/20000);  // Beyond the context.
  };
  Generate(1, 30);
  Generate(next++, 1, 20000);
  Generate(next++, 1, 20000);
  RunUntil([&] { return over = Ended(1); });
  EXPECT_TRUE(service_.ended[1].ok()) << service_.ended[1];
}

}  // namespace
}  // namespace retort::worker
