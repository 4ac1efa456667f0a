#include "common/artifact/rollout.h"

#include <cmath>
#include <functional>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sample_artifacts.h"

namespace retort::artifact {
namespace {

using ::testing::HasSubstr;

TEST(RolloutTest, Decode_Encoded_AllFieldsEqual) {
  const Rollout rollout = SampleRollout();
  const absl::StatusOr<std::string> bytes = Encode(rollout);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const absl::StatusOr<Rollout> decoded = DecodeRollout(*bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->bundle.SerializeAsString(), rollout.bundle.SerializeAsString());
  EXPECT_EQ(decoded->version, rollout.version);
  EXPECT_EQ(decoded->slots, rollout.slots);
  EXPECT_EQ(decoded->rows, rollout.rows);
  EXPECT_EQ(decoded->n, rollout.n);
  EXPECT_EQ(decoded->prompt_lengths, rollout.prompt_lengths);
  EXPECT_EQ(decoded->response_lengths, rollout.response_lengths);
  EXPECT_EQ(decoded->token_ids, rollout.token_ids);
  EXPECT_EQ(decoded->behaviour_log_probs, rollout.behaviour_log_probs);
  EXPECT_EQ(decoded->finished, rollout.finished);
  EXPECT_EQ(decoded->scores, rollout.scores);
  EXPECT_EQ(decoded->reward_names, rollout.reward_names);
  EXPECT_EQ(decoded->reward_parts, rollout.reward_parts);
  EXPECT_EQ(decoded->reward_gave_up, rollout.reward_gave_up);
}

TEST(RolloutTest, Encode_SameContentsTwice_SameBytes) {
  EXPECT_EQ(*Encode(SampleRollout()), *Encode(SampleRollout()));
}

TEST(RolloutTest, Decode_NotFiniteLogProb_IsKept) {
  Rollout rollout = SampleRollout();
  rollout.behaviour_log_probs[0] = std::numeric_limits<float>::quiet_NaN();
  const absl::StatusOr<Rollout> decoded = DecodeRollout(*Encode(rollout));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_TRUE(std::isnan(decoded->behaviour_log_probs[0]));
}

TEST(RolloutTest, Encode_FieldOutOfBounds_NamesTheField) {
  struct Case {
    const char* field;
    std::function<void(Rollout*)> damage;
  };
  const Case cases[] = {
      {"bundle.kind", [](Rollout* r) { r->bundle.clear_kind(); }},
      {"bundle.step", [](Rollout* r) { r->bundle.set_step(-1); }},
      {"bundle.index", [](Rollout* r) { r->bundle.set_index(-1); }},
      {"version", [](Rollout* r) { r->version = -1; }},
      {"reward_gave_up", [](Rollout* r) { r->reward_gave_up.pop_back(); }},
      {"reward_gave_up", [](Rollout* r) { r->reward_gave_up[0] = 1000; }},
      {"slots",
       [](Rollout* r) {
         r->slots = {9, 8};
       }},
      {"slots",
       [](Rollout* r) {
         r->slots = {8, 8};
       }},
      {"slots", [](Rollout* r) { r->slots.clear(); }},
      {"slots[0]", [](Rollout* r) { r->slots[0] = -1; }},
      {"rows", [](Rollout* r) { r->rows.pop_back(); }},
      {"rows[1]", [](Rollout* r) { r->rows[1] = -4; }},
      {"samples per prompt", [](Rollout* r) { r->n = 0; }},
      {"samples per prompt", [](Rollout* r) { r->n = 1 << 30; }},
      {"prompt_lengths", [](Rollout* r) { r->n = 1; }},
      {"prompt_lengths[2]", [](Rollout* r) { r->prompt_lengths[2] = 0; }},
      {"response_lengths", [](Rollout* r) { r->response_lengths.push_back(1); }},
      {"response_lengths[0]", [](Rollout* r) { r->response_lengths[0] = -1; }},
      {"token_ids", [](Rollout* r) { r->token_ids.pop_back(); }},
      {"token_ids[3]", [](Rollout* r) { r->token_ids[3] = -5; }},
      {"behaviour_log_probs", [](Rollout* r) { r->behaviour_log_probs.pop_back(); }},
      {"finished", [](Rollout* r) { r->finished.pop_back(); }},
      {"finished[1]", [](Rollout* r) { r->finished[1] = 2; }},
      {"scores", [](Rollout* r) { r->scores.push_back(0); }},
      {"reward_parts", [](Rollout* r) { r->reward_names.pop_back(); }},
      {"reward_names", [](Rollout* r) { r->reward_names[0].clear(); }},
      {"reward_names", [](Rollout* r) { r->reward_names[0].assign(129, 'x'); }},
      {"reward_names", [](Rollout* r) { r->reward_names.resize(65, "r"); }},
  };
  for (const Case& c : cases) {
    Rollout rollout = SampleRollout();
    c.damage(&rollout);
    const absl::StatusOr<std::string> bytes = Encode(rollout);
    EXPECT_EQ(bytes.status().code(), absl::StatusCode::kInvalidArgument) << c.field;
    EXPECT_THAT(std::string(bytes.status().message()), HasSubstr(c.field));
  }
}

TEST(RolloutTest, ArtifactId_TrainAndEval_Differ) {
  v1::BundleId bundle;
  bundle.set_kind(v1::BUNDLE_KIND_TRAIN);
  bundle.set_step(12);
  bundle.set_index(3);
  EXPECT_EQ(RolloutArtifactId(bundle), "rollout/train/12/3");
  bundle.set_kind(v1::BUNDLE_KIND_EVAL);
  EXPECT_EQ(RolloutArtifactId(bundle), "rollout/eval/12/3");
  EXPECT_EQ(ScoresArtifactId(bundle), "scores/eval/12/3");
}

}  // namespace
}  // namespace retort::artifact
