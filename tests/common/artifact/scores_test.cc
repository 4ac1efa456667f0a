#include "common/artifact/scores.h"

#include "gtest/gtest.h"
#include "sample_artifacts.h"

namespace retort::artifact {
namespace {

TEST(ScoresTest, Decode_Encoded_AllFieldsEqual) {
  const Scores scores = SampleScores();
  const absl::StatusOr<Scores> decoded = DecodeScores(*Encode(scores));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->bundle.step(), 7);
  EXPECT_EQ(decoded->vocab, 0);
  EXPECT_EQ(decoded->ref_log_probs, scores.ref_log_probs);
  EXPECT_EQ(decoded->tokens(), 6);
}

TEST(ScoresTest, Decode_FullRows_VocabAndTokens) {
  Scores scores = SampleScores();
  scores.vocab = 3;
  const absl::StatusOr<Scores> decoded = DecodeScores(*Encode(scores));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->vocab, 3);
  EXPECT_EQ(decoded->tokens(), 2);
}

TEST(ScoresTest, Encode_RowsDoNotDivide_InvalidArgument) {
  Scores scores = SampleScores();
  scores.vocab = 4;
  EXPECT_EQ(Encode(scores).status().code(), absl::StatusCode::kInvalidArgument);
  scores.vocab = -1;
  EXPECT_EQ(Encode(scores).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ScoresTest, Decode_RolloutBytes_DataLoss) {
  EXPECT_EQ(DecodeScores(*Encode(SampleRollout())).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace retort::artifact
