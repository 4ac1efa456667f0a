#include "common/model/generate.h"

#include <algorithm>
#include <cmath>

#include "common/tensor/torch_process.h"
#include "gtest/gtest.h"
#include "testing/tiny_model.h"

namespace retort::model {
namespace {

using retort::tiny::RandomArena;
using retort::tiny::TinyConfig;

class GenerateTest : public ::testing::Test {
 protected:
  GenerateTest() : config_(TinyConfig()), model_(config_, RandomArena(config_, false)) {
    for (int64_t p = 0; p < 7; ++p) {
      std::vector<int64_t> prompt;
      for (int64_t i = 0; i <= (3 * p) % 5; ++i) {
        prompt.push_back((p * 11 + i * 5 + 1) % config_.vocab_size);
      }
      prompts_.push_back(prompt);
    }
    options_.max_new_tokens = 12;
    options_.eos_ids = {2, 9};
  }

  std::vector<SampleRequest> Samples(int64_t per_prompt) const {
    std::vector<SampleRequest> samples;
    for (size_t p = 0; p < prompts_.size(); ++p) {
      for (int64_t s = 0; s < per_prompt; ++s) {
        samples.push_back({static_cast<int64_t>(p),
                           CounterRng(5, RngPurpose::kSampling, 0, p, static_cast<uint32_t>(s))});
      }
    }
    return samples;
  }

  std::vector<GeneratedSample> Run(const std::vector<SampleRequest>& samples) {
    auto result = Generate(model_, prompts_, samples, options_, batch_);
    EXPECT_TRUE(result.ok()) << result.status().ToString();
    return result.ok() ? *std::move(result) : std::vector<GeneratedSample>();
  }

  // Log-probs of a sample's tokens from the packed forward, the learner's way.
  at::Tensor Learner(int64_t prompt, const std::vector<int64_t>& response, double temperature) {
    std::vector<int64_t> sequence = prompts_[prompt];
    const int64_t before = static_cast<int64_t>(sequence.size());
    sequence.insert(sequence.end(), response.begin(), response.end());
    const PackedBatch batch = Pack({sequence});
    const int64_t count = static_cast<int64_t>(response.size());
    const at::Tensor hidden = model_.Hidden(batch).narrow(0, before - 1, count);
    return model_
        .LogProbs(hidden, batch.ids.narrow(0, before, count), temperature, {config_.vocab_size})
        .log_probs;
  }

  layout::ModelConfig config_;
  Model model_;
  std::vector<std::vector<int64_t>> prompts_;
  SamplingOptions options_;
  BatchOptions batch_;
};

TEST_F(GenerateTest, LogProbs_AnyBatchSize_EqualTheFullForward) {
  for (const int64_t max_batch : {1, 3, 64}) {
    batch_.max_batch = max_batch;
    options_.filter.temperature = 0.7;
    options_.raw_log_probs = true;
    const auto samples = Samples(3);
    const auto results = Run(samples);
    for (size_t i = 0; i < samples.size(); ++i) {
      const at::Tensor scaled = Learner(samples[i].prompt, results[i].ids, 0.7);
      const at::Tensor raw = Learner(samples[i].prompt, results[i].ids, 1.0);
      for (size_t t = 0; t < results[i].ids.size(); ++t) {
        EXPECT_NEAR(results[i].log_probs[t], scaled[t].item<float>(), 1e-5);
        EXPECT_NEAR(results[i].raw_log_probs[t], raw[t].item<float>(), 1e-5);
      }
    }
  }
}

TEST_F(GenerateTest, Ends_ByEosOrLength_FinishedSaysWhich) {
  const auto results = Run(Samples(4));
  int64_t finished = 0, cut = 0;
  for (const GeneratedSample& sample : results) {
    const int64_t last = sample.ids.back();
    EXPECT_EQ(sample.finished(), last == 2 || last == 9);
    for (size_t t = 0; t + 1 < sample.ids.size(); ++t) {
      EXPECT_TRUE(sample.ids[t] != 2 && sample.ids[t] != 9);
    }
    if (!sample.finished()) {
      EXPECT_EQ(sample.ids.size(), 12u);
    }
    (sample.finished() ? finished : cut) += 1;
  }
  EXPECT_GT(finished, 0);
  EXPECT_GT(cut, 0);
}

// A sample's bits are its own: whatever the batch size, the order of the samples, what shares the
// call, how prompts are cut and how many threads compute.
TEST_F(GenerateTest, AnyCompany_EqualBits) {
  options_.raw_log_probs = true;
  options_.top_log_probs = 2;
  options_.filter = {.repetition_penalty = 1.1, .temperature = 0.9, .top_k = 20, .top_p = 0.95};
  std::vector<SampleRequest> samples = Samples(3);
  std::vector<GeneratedSample> alone;
  for (const SampleRequest& sample : samples) {
    batch_ = {.max_batch = 1, .max_prefill_tokens = 4096};
    alone.push_back(Run({sample})[0]);
  }
  CounterRng rng(11, RngPurpose::kData, 0);
  for (int round = 0; round < 30; ++round) {
    const tensor::ThreadCount threads(1 + static_cast<int>(rng.NextBelow(3)));
    std::vector<int64_t> order = RandomPermutation(static_cast<int64_t>(samples.size()), rng);
    order.resize(1 + rng.NextBelow(order.size()));
    std::vector<SampleRequest> some;
    for (const int64_t i : order) some.push_back(samples[i]);
    batch_ = {.max_batch = 1 + static_cast<int64_t>(rng.NextBelow(24)),
              .max_prefill_tokens = 1 + static_cast<int64_t>(rng.NextBelow(9))};
    const std::vector<GeneratedSample> got = Run(some);
    for (size_t i = 0; i < order.size(); ++i) {
      const GeneratedSample& want = alone[order[i]];
      ASSERT_EQ(got[i].ids, want.ids) << "round " << round;
      ASSERT_EQ(got[i].log_probs, want.log_probs) << "round " << round;
      ASSERT_EQ(got[i].raw_log_probs, want.raw_log_probs) << "round " << round;
      ASSERT_EQ(got[i].top_ids, want.top_ids) << "round " << round;
      ASSERT_EQ(got[i].top_log_probs, want.top_log_probs) << "round " << round;
      ASSERT_EQ(got[i].reason, want.reason) << "round " << round;
    }
  }
}

TEST_F(GenerateTest, Greedy_EachToken_IsTheArgmaxOfTheFullForward) {
  options_.greedy = true;
  const auto results = Run(Samples(1));
  for (size_t p = 0; p < results.size(); ++p) {
    std::vector<int64_t> sequence = prompts_[p];
    for (const int64_t id : results[p].ids) {
      const at::Tensor hidden = model_.Hidden(Pack({sequence}));
      EXPECT_EQ(model_.Logits(hidden)[-1].argmax().item<int64_t>(), id);
      sequence.push_back(id);
    }
  }
}

TEST_F(GenerateTest, Truncated_LogProbs_AreRenormalised) {
  options_.filter = {.temperature = 0.7, .top_k = 4, .top_p = 0.9};
  const auto samples = Samples(2);
  const auto results = Run(samples);
  for (size_t i = 0; i < samples.size(); ++i) {
    std::vector<int64_t> sequence = prompts_[samples[i].prompt];
    for (size_t t = 0; t < results[i].ids.size(); ++t) {
      const at::Tensor logits = model_.Logits(model_.Hidden(Pack({sequence})))[-1].contiguous();
      RowFilter filter;
      ASSERT_TRUE(
          filter.Apply(options_.filter, {config_.vocab_size, {}},
                       {logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel())}, {}));
      EXPECT_NEAR(results[i].log_probs[t], filter.LogProb(results[i].ids[t]), 1e-4);
      sequence.push_back(results[i].ids[t]);
    }
  }
}

TEST_F(GenerateTest, VocabLimit_NoIdBeyondIt) {
  options_.mask.limit = 6;
  options_.eos_ids = {};
  for (const GeneratedSample& sample : Run(Samples(4))) {
    for (const int64_t id : sample.ids) EXPECT_LT(id, 6);
  }
}

TEST_F(GenerateTest, ExcludedIds_AreNeitherDrawnNorNormalisedOver) {
  options_.eos_ids = {};
  for (int64_t id = 0; id < config_.vocab_size; ++id) {
    if (id % 5 != 0) options_.mask.excluded.push_back(id);
  }
  for (const GeneratedSample& sample : Run(Samples(2))) {
    for (size_t t = 0; t < sample.ids.size(); ++t) {
      EXPECT_EQ(sample.ids[t] % 5, 0);
      EXPECT_LE(sample.log_probs[t], 0.0f);
    }
  }
  // One id that exists has all of the probability.
  options_.mask.excluded.clear();
  for (int64_t id = 0; id < config_.vocab_size; ++id) {
    if (id != 7) options_.mask.excluded.push_back(id);
  }
  EXPECT_EQ(Run(Samples(1))[0].log_probs, std::vector<float>(12, 0.0f));
}

TEST_F(GenerateTest, TopLogProbs_HoldTheGreedyTokenFirst) {
  options_.greedy = true;
  options_.raw_log_probs = true;
  options_.top_log_probs = 3;
  for (const GeneratedSample& sample : Run(Samples(1))) {
    ASSERT_EQ(sample.top_ids.size(), 3 * sample.ids.size());
    for (size_t t = 0; t < sample.ids.size(); ++t) {
      EXPECT_EQ(sample.top_ids[3 * t], sample.ids[t]);
      EXPECT_EQ(sample.top_log_probs[3 * t], sample.raw_log_probs[t]);
    }
  }
}

TEST_F(GenerateTest, StopCheck_EndsASampleAndKeepsItsTokens) {
  options_.eos_ids = {};
  const auto stop = [](int64_t sample, absl::Span<const int64_t> ids) {
    return static_cast<int64_t>(ids.size()) == sample + 1;
  };
  const auto result = Generate(model_, prompts_, Samples(2), options_, batch_, nullptr, stop);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  for (size_t i = 0; i < result->size(); ++i) {
    const GeneratedSample& sample = (*result)[i];
    EXPECT_EQ(sample.ids.size(), std::min<size_t>(i + 1, 12)) << i;
    EXPECT_EQ(sample.reason, i < 12 ? FinishReason::kStop : FinishReason::kLength) << i;
  }
}

TEST_F(GenerateTest, RepetitionPenalty_Huge_NoTokenTwice) {
  options_.greedy = true;
  options_.eos_ids = {};
  options_.filter.repetition_penalty = 1e6;
  for (const GeneratedSample& sample : Run(Samples(1))) {
    std::vector<int64_t> ids = sample.ids;
    std::sort(ids.begin(), ids.end());
    EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end());
  }
}

TEST_F(GenerateTest, Callback_SeesEveryTokenInOrder_FalseCancels) {
  std::vector<std::vector<int64_t>> seen(prompts_.size());
  const auto samples = Samples(1);
  auto result =
      Generate(model_, prompts_, samples, options_, batch_, [&](int64_t sample, int64_t id) {
        seen[sample].push_back(id);
        return true;
      });
  ASSERT_TRUE(result.ok());
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], (*result)[i].ids);
  EXPECT_EQ(
      Generate(model_, prompts_, samples, options_, batch_, [](int64_t, int64_t) { return false; })
          .status()
          .code(),
      absl::StatusCode::kCancelled);
}

TEST_F(GenerateTest, BadArguments_InvalidArgument) {
  const auto refuse = [&](const SamplingOptions& options, std::vector<std::vector<int64_t>> prompts,
                          const char* part) {
    const std::vector<SampleRequest> samples = {{0, CounterRng(1, RngPurpose::kSampling, 0)}};
    const absl::Status status = Generate(model_, prompts, samples, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << part;
    EXPECT_NE(status.message().find(part), absl::string_view::npos) << status.ToString();
  };
  SamplingOptions bad = options_;
  bad.max_new_tokens = 0;
  refuse(bad, {{1}}, "max_new_tokens");
  bad = options_;
  bad.filter.top_p = 2;
  refuse(bad, {{1}}, "top_p");
  bad = options_;
  bad.mask.excluded = {5, 5};
  refuse(bad, {{1}}, "excluded id 5");
  bad = options_;
  bad.eos_ids = {37};
  refuse(bad, {{1}}, "eos_ids holds id 37");
  bad = options_;
  bad.max_new_tokens = 1 << 30;
  refuse(bad, {{1}}, "max_new_tokens");
  refuse(options_, {{}}, "prompt 0: the prompt is empty");
  refuse(options_, {{1, 37}}, "id 37");
  refuse(options_, {std::vector<int64_t>(250, 1)}, "max_position_embeddings");
}

TEST_F(GenerateTest, NanWeights_InternalError) {
  const tensor::ParameterArena arena = RandomArena(config_, false);
  arena.data()[arena.layout().Find("model.norm.weight")->offset] = NAN;
  const Model broken(config_, arena);
  EXPECT_EQ(Generate(broken, prompts_, Samples(1), options_).status().code(),
            absl::StatusCode::kInternal);
}

// What a learner that also generates does: inference mode must leave no trace in what backward
// saves.
TEST_F(GenerateTest, ThenBackward_Works) {
  Model trained(config_, RandomArena(config_, false));
  trained.AttachGradients(retort::tiny::ZeroArena(config_, false));
  ASSERT_TRUE(Generate(trained, prompts_, Samples(1), options_).ok());
  trained.Hidden(Pack({{1, 2, 3}})).sum().backward();
}

}  // namespace
}  // namespace retort::model
