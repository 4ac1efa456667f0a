#include "common/model/engine.h"

#include <cmath>
#include <map>

#include "gtest/gtest.h"
#include "testing/tiny_model.h"

namespace retort::model {
namespace {

using retort::tiny::RandomArena;
using retort::tiny::TinyConfig;

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() : config_(TinyConfig()), model_(config_, RandomArena(config_, false)) {}

  EngineRequest Request(int64_t seed, int64_t prompt, int64_t samples, int64_t new_tokens) const {
    EngineRequest request;
    for (int64_t i = 0; i < prompt; ++i) {
      request.prompt.push_back((seed * 13 + i * 7 + 1) % config_.vocab_size);
    }
    request.sampling.max_new_tokens = new_tokens;
    request.sampling.eos_ids = {2, 9};
    for (int64_t s = 0; s < samples; ++s) {
      request.streams.emplace_back(5, RngPurpose::kSampling, seed, static_cast<uint32_t>(s));
    }
    return request;
  }

  std::unique_ptr<Engine> MakeEngine(const EngineOptions& options) {
    auto engine = Engine::Make(model_, options);
    EXPECT_TRUE(engine.ok()) << engine.status().ToString();
    return *std::move(engine);
  }

  // By itself in an engine of its own.
  std::vector<GeneratedSample> Alone(const EngineRequest& request) {
    const auto engine = MakeEngine({});
    const RequestId id = *engine->Add(request);
    while (!engine->idle()) EXPECT_TRUE(engine->Step().ok());
    return *engine->TakeResults(id);
  }

  static void ExpectSame(const std::vector<GeneratedSample>& a,
                         const std::vector<GeneratedSample>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].ids, b[i].ids) << i;
      EXPECT_EQ(a[i].log_probs, b[i].log_probs) << i;
      EXPECT_EQ(a[i].reason, b[i].reason) << i;
    }
  }

  layout::ModelConfig config_;
  Model model_;
};

TEST_F(EngineTest, Idle_AStep_DoesNothing) {
  const auto engine = MakeEngine({});
  EXPECT_TRUE(engine->idle());
  EXPECT_TRUE(engine->Step()->empty());
}

TEST_F(EngineTest, Step_Events_AreTheTokensOfTheResults) {
  const auto engine = MakeEngine({});
  const RequestId a = *engine->Add(Request(1, 5, 2, 6)), b = *engine->Add(Request(2, 20, 1, 9));
  std::map<std::pair<RequestId, int64_t>, std::vector<int64_t>> seen;
  while (!engine->idle()) {
    const auto events = engine->Step();
    ASSERT_TRUE(events.ok());
    for (const TokenEvent& event : *events) {
      seen[{event.request, event.sample}].push_back(event.id);
      EXPECT_EQ(engine->Peek(event.request, event.sample)->ids.back(), event.id);
      EXPECT_EQ(engine->Peek(event.request, event.sample)->reason, event.reason);
    }
  }
  for (const RequestId id : {a, b}) {
    const auto results = engine->TakeResults(id);
    ASSERT_TRUE(results.ok());
    for (size_t s = 0; s < results->size(); ++s) {
      EXPECT_EQ((*results)[s].ids, (seen[{id, static_cast<int64_t>(s)}]));
    }
  }
  EXPECT_EQ(engine->TakeResults(a).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(EngineTest, TakeResults_BeforeTheEnd_FailedPrecondition) {
  const auto engine = MakeEngine({});
  const RequestId id = *engine->Add(Request(1, 5, 2, 6));
  EXPECT_EQ(engine->TakeResults(id).status().code(), absl::StatusCode::kFailedPrecondition);
}

// Requests come and go at random; each finished one equals the same request by itself, and in the
// end all memory is free.
TEST_F(EngineTest, RandomTraffic_EveryAnswerIsTheSerialOne) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    CounterRng rng(seed, RngPurpose::kData, 1);
    const auto engine =
        MakeEngine({.max_batch = 1 + static_cast<int64_t>(rng.NextBelow(7)),
                    .max_prefill_tokens = 1 + static_cast<int64_t>(rng.NextBelow(40)),
                    .kv_blocks = 9 + static_cast<int64_t>(rng.NextBelow(20))});
    const int64_t blocks = engine->free_blocks();
    std::map<RequestId, EngineRequest> open;
    int64_t checked = 0;
    for (int step = 0; step < 120 || !engine->idle(); ++step) {
      if (step < 120 && rng.NextBelow(3) == 0) {
        const EngineRequest request =
            Request(static_cast<int64_t>(rng.NextBelow(50)), 1 + rng.NextBelow(50),
                    1 + rng.NextBelow(5), 1 + rng.NextBelow(30));
        const auto id = engine->Add(request);
        ASSERT_TRUE(id.ok()) << id.status().ToString();
        open.emplace(*id, request);
      }
      if (rng.NextBelow(12) == 0 && !open.empty()) {
        const RequestId id = open.begin()->first;
        EXPECT_TRUE(engine->Cancel(id));
        EXPECT_EQ(engine->Peek(id, 0), nullptr);
        open.erase(id);
      }
      ASSERT_TRUE(engine->Step().ok());
      for (auto at = open.begin(); at != open.end();) {
        auto results = engine->TakeResults(at->first);
        if (!results.ok()) {
          ++at;
          continue;
        }
        ExpectSame(*results, Alone(at->second));
        ++checked;
        at = open.erase(at);
      }
    }
    EXPECT_GT(checked, 5) << "seed " << seed;
    EXPECT_EQ(engine->free_blocks(), blocks) << "seed " << seed;
  }
}

// The head of the queue waits for memory although a smaller request behind it would fit.
TEST_F(EngineTest, FullCache_RequestsStartInOrder) {
  const auto engine = MakeEngine({.max_batch = 8, .kv_blocks = 6});
  EngineRequest large = Request(1, 30, 1, 34), small = Request(3, 4, 1, 4);
  large.sampling.eos_ids = small.sampling.eos_ids = {};
  const RequestId first = *engine->Add(large), second = *engine->Add(large);
  const RequestId third = *engine->Add(small);
  ASSERT_TRUE(engine->Step().ok());
  EXPECT_EQ(engine->Peek(first, 0)->ids.size(), 1u);
  EXPECT_TRUE(engine->Peek(second, 0)->ids.empty());
  EXPECT_TRUE(engine->Peek(third, 0)->ids.empty());
  while (!engine->idle()) ASSERT_TRUE(engine->Step().ok());
  ExpectSame(*engine->TakeResults(second), Alone(large));
  ExpectSame(*engine->TakeResults(third), Alone(small));
}

// More samples than lanes and memory: they run one after another and all from one prefill.
TEST_F(EngineTest, ManySamplesOfOnePrompt_FewBlocks_AllFinish) {
  const EngineRequest request = Request(1, 40, 9, 30);
  const auto engine = MakeEngine({.max_batch = 8, .kv_blocks = Engine::BlocksOfOne(40, 30) + 3});
  const RequestId id = *engine->Add(request);
  while (!engine->idle()) ASSERT_TRUE(engine->Step().ok());
  ExpectSame(*engine->TakeResults(id), Alone(request));
}

TEST(EngineBlocksTest, MostBlocksOfOne_EnoughForEverySplitOfTheContext) {
  for (const int64_t context : {16, 100, 128}) {
    int64_t most = 0;
    for (int64_t prompt = 1; prompt < context; ++prompt) {
      most = std::max(most, Engine::BlocksOfOne(prompt, context - prompt));
    }
    EXPECT_EQ(Engine::MostBlocksOfOne(context), most) << context;
  }
}

TEST_F(EngineTest, Add_WhatCanNeverFit_ResourceExhausted) {
  const auto engine = MakeEngine({.kv_blocks = 4});
  EXPECT_EQ(engine->Add(Request(1, 60, 1, 60)).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(engine->Add(Request(1, 16, 1, 16)).ok());
}

TEST_F(EngineTest, Add_BadRequests_InvalidArgument) {
  const auto engine = MakeEngine({});
  EngineRequest no_sample = Request(1, 4, 0, 4), empty = Request(1, 0, 1, 4);
  EngineRequest outside = Request(1, 4, 1, 4), bad_word = outside;
  outside.prompt[2] = -1;
  bad_word.sampling.filter.bad_words = {{99}};
  for (const EngineRequest& request : {no_sample, empty, outside, bad_word}) {
    EXPECT_EQ(engine->Add(request).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(Engine::Make(model_, {.max_batch = 0}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// One request's filter leaves no token; the others go on.
TEST_F(EngineTest, NoDistribution_FailsThatRequestAlone) {
  const auto engine = MakeEngine({});
  EngineRequest doomed = Request(1, 4, 2, 4);
  for (int64_t id = 0; id < config_.vocab_size; ++id) {
    doomed.sampling.filter.bad_words.push_back({id});
  }
  doomed.sampling.eos_ids = {};
  const EngineRequest fine = Request(2, 4, 1, 4);
  const RequestId a = *engine->Add(doomed), b = *engine->Add(fine);
  const auto events = engine->Step();
  ASSERT_TRUE(events.ok());
  EXPECT_EQ(events->front().reason, FinishReason::kFailed);
  while (!engine->idle()) ASSERT_TRUE(engine->Step().ok());
  EXPECT_EQ(engine->TakeResults(a).status().code(), absl::StatusCode::kInternal);
  ExpectSame(*engine->TakeResults(b), Alone(fine));
  EXPECT_EQ(engine->free_blocks(), EngineOptions().kv_blocks);
}

TEST_F(EngineTest, MinNewTokensAndEos_EosComesNoEarlier) {
  EngineRequest request = Request(4, 6, 8, 20);
  request.sampling.filter.min_new_tokens = 5;
  request.sampling.eos_ids = {};
  for (int64_t id = 0; id < config_.vocab_size; id += 2) request.sampling.eos_ids.push_back(id);
  int64_t ended = 0;
  for (const GeneratedSample& sample : Alone(request)) {
    EXPECT_GE(sample.ids.size(), 6u);
    ended += sample.reason == FinishReason::kEos ? 1 : 0;
  }
  EXPECT_GT(ended, 0);
}

}  // namespace
}  // namespace retort::model
