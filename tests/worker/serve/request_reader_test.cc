#include "worker/serve/request_reader.h"

#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/digit_model.h"

namespace retort::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RequestReaderTest : public testing::Test {
 protected:
  RequestReaderTest()
      : folder_(WriteDigitModel("request_reader_test", 32)),
        model_(*LoadModelFolder({.folder = folder_})) {}
  ~RequestReaderTest() override { EXPECT_TRUE(RemoveRecursively(folder_).ok()); }

  const std::string folder_;
  const LoadedModel model_;
  layout::GenerationDefaults defaults_;
};

v1::GenerateRequest Generate(const std::string& text) {
  v1::GenerateRequest request;
  request.mutable_prompt()->set_text(text);
  return request;
}

TEST_F(RequestReaderTest, Generate_TextOnly_TheFoldersDefaults) {
  defaults_ = {.temperature = 0.5,
               .top_k = 3,
               .top_p = 0.9,
               .min_p = 0.1,
               .repetition_penalty = 1.2,
               .min_new_tokens = 2,
               .max_new_tokens = 7};
  const auto work = RequestReader(model_, defaults_).Read(Generate("314"));
  ASSERT_TRUE(work.ok()) << work.status();
  EXPECT_THAT(work->prompt, ElementsAre(3, 1, 4));
  EXPECT_EQ(work->samples, 1);
  EXPECT_FALSE(work->sampling.greedy);
  EXPECT_EQ(work->sampling.filter.temperature, 0.5);
  EXPECT_EQ(work->sampling.filter.top_k, 3);
  EXPECT_EQ(work->sampling.filter.top_p, 0.9);
  EXPECT_EQ(work->sampling.filter.min_p, 0.1);
  EXPECT_EQ(work->sampling.filter.repetition_penalty, 1.2);
  EXPECT_EQ(work->sampling.filter.min_new_tokens, 2);
  EXPECT_EQ(work->sampling.max_new_tokens, 7);
  EXPECT_THAT(work->sampling.eos_ids, ElementsAre(10));
  EXPECT_EQ(work->sampling.mask.limit, 11);
}

TEST_F(RequestReaderTest, Generate_EveryField_WinsOverDefaults) {
  defaults_ = {.temperature = 0.5, .top_k = 3, .max_new_tokens = 7};
  v1::GenerateRequest request;
  for (const int64_t id : {1, 2}) request.mutable_prompt()->mutable_tokens()->add_ids(id);
  request.set_samples(4);
  request.set_top_log_probs(2);
  v1::SamplingParameters& sampling = *request.mutable_sampling();
  sampling.set_temperature(0);
  sampling.set_top_k(0);
  sampling.set_max_new_tokens(30);
  sampling.set_seed(9);
  sampling.add_stop("77");
  sampling.add_stop_token_ids(5);
  const auto work = RequestReader(model_, defaults_).Read(request);
  ASSERT_TRUE(work.ok()) << work.status();
  EXPECT_THAT(work->prompt, ElementsAre(1, 2));
  EXPECT_TRUE(work->sampling.greedy);
  EXPECT_EQ(work->sampling.filter.top_k, 0);
  EXPECT_EQ(work->sampling.max_new_tokens, 30);
  EXPECT_EQ(work->sampling.top_log_probs, 2);
  EXPECT_THAT(work->sampling.eos_ids, ElementsAre(10, 5));
  EXPECT_THAT(work->stops, ElementsAre("77"));
  EXPECT_EQ(work->seed, 9u);
  EXPECT_EQ(work->samples, 4);
}

TEST_F(RequestReaderTest, Generate_IgnoreEos_OnlyTheRequestsOwnIds) {
  v1::GenerateRequest request = Generate("1");
  request.mutable_sampling()->set_ignore_eos(true);
  request.mutable_sampling()->add_stop_token_ids(4);
  EXPECT_THAT(RequestReader(model_, defaults_).Read(request)->sampling.eos_ids, ElementsAre(4));
}

TEST_F(RequestReaderTest, Generate_DefaultLength_WhatTheContextLeaves) {
  EXPECT_EQ(RequestReader(model_, defaults_).Read(Generate("314"))->sampling.max_new_tokens, 29);
}

TEST_F(RequestReaderTest, Generate_Refused_NamesTheField) {
  struct Case {
    std::function<void(v1::GenerateRequest*)> change;
    const char* want;
  };
  const Case cases[] = {
      {[](auto* r) { r->clear_prompt(); }, "prompt is not set"},
      {[](auto* r) { r->mutable_prompt()->set_text(""); }, "prompt is empty"},
      {[](auto* r) { r->mutable_prompt()->set_text("3x"); }, "prompt.text: "},
      {[](auto* r) { r->mutable_prompt()->mutable_tokens()->add_ids(11); },
       "prompt.tokens.ids[0] is 11"},
      {[](auto* r) { r->mutable_prompt()->mutable_tokens()->add_ids(-1); },
       "prompt.tokens.ids[0] is -1"},
      {[](auto* r) { r->mutable_prompt()->set_text(std::string(32, '1')); }, "context is 32"},
      {[](auto* r) { r->mutable_prompt()->mutable_chat()->set_messages_json("[]"); },
       "this model has no chat format"},
      {[](auto* r) { r->set_samples(257); }, "samples is 257"},
      {[](auto* r) { r->set_samples(-1); }, "samples is -1"},
      {[](auto* r) { r->set_top_log_probs(12); }, "top_log_probs is 12; expected 0 to 11"},
      {[](auto* r) { r->mutable_sampling()->set_max_new_tokens(32); },
       "sampling: max_new_tokens is 32; expected 1 to 31"},
      {[](auto* r) { r->mutable_sampling()->set_temperature(-1); }, "sampling: temperature"},
      {[](auto* r) { r->mutable_sampling()->set_temperature(1e-39); },
       "sampling: temperature is 1e-39; expected 0 (greedy) or a number from 1e-6 to 1e6"},
      {[](auto* r) { r->mutable_sampling()->set_repetition_penalty(1e-40); },
       "sampling: repetition_penalty is 1e-40"},
      {[](auto* r) { r->set_client(std::string(129, 'c')); }, "client has 129 bytes"},
      {[](auto* r) { r->mutable_sampling()->set_top_p(0); }, "sampling: top_p"},
      {[](auto* r) { r->mutable_sampling()->add_stop(""); }, "sampling.stop[0] has 0 bytes"},
      {[](auto* r) { r->mutable_sampling()->add_stop_token_ids(12); }, "sampling: "},
  };
  for (const Case& c : cases) {
    v1::GenerateRequest request = Generate("1");
    c.change(&request);
    const absl::Status status = RequestReader(model_, defaults_).Read(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.want;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST_F(RequestReaderTest, Score_PromptAndCompletion_MaskIsTheCompletion) {
  v1::ScoreRequest request;
  request.mutable_prompt()->set_text("31");
  request.set_text("415");
  const auto work = RequestReader(model_, defaults_).Read(request);
  ASSERT_TRUE(work.ok()) << work.status();
  EXPECT_THAT(work->ids, ElementsAre(3, 1, 4, 1, 5));
  EXPECT_THAT(work->mask, ElementsAre(false, false, true, true, true));
  EXPECT_EQ(work->temperature, 1);
}

TEST_F(RequestReaderTest, Score_Refused_NamesTheField) {
  struct Case {
    std::function<void(v1::ScoreRequest*)> change;
    const char* want;
  };
  const Case cases[] = {
      {[](auto* r) { r->mutable_prompt()->set_text(""); }, "prompt is empty"},
      {[](auto* r) { r->clear_text(); }, "completion is not set"},
      {[](auto* r) { r->set_text(""); }, "completion has no token"},
      {[](auto* r) { r->mutable_tokens()->add_ids(99); }, "tokens.ids[0] is 99"},
      {[](auto* r) { r->set_text(std::string(32, '1')); }, "33 tokens"},
      {[](auto* r) { r->set_temperature(-1); }, "temperature is -1"},
      {[](auto* r) { r->set_temperature(1e-39); }, "temperature is 1e-39"},
      {[](auto* r) { r->set_client(std::string(129, 'c')); }, "client has 129 bytes"},
      {[](auto* r) { r->set_top_log_probs(-1); }, "top_log_probs is -1"},
  };
  for (const Case& c : cases) {
    v1::ScoreRequest request;
    request.mutable_prompt()->set_text("3");
    request.set_text("1");
    c.change(&request);
    const absl::Status status = RequestReader(model_, defaults_).Read(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.want;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

}  // namespace
}  // namespace retort::worker
