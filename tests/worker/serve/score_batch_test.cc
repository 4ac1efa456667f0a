#include "worker/serve/score_batch.h"

#include "common/base/file.h"
#include "gtest/gtest.h"
#include "testing/digit_model.h"

namespace retort::worker {
namespace {

TEST(ScoreBatchTest, NobodyWantsItAnyMore_StopsAtTheNextLayer) {
  const std::string folder = WriteDigitModel("score_batch_test", 32);
  {
    const LoadedModel model = *LoadModelFolder({.folder = folder});
    ScoreWork work;
    work.ids = {1, 2, 3, 4};
    work.mask = {false, true, true, true};
    int asked = 0;
    const auto scores = ScoreBatch(model, {work}, [&] { return ++asked > 0; });
    ASSERT_TRUE(scores.ok()) << scores.status();
    ASSERT_TRUE(scores->front().ok()) << scores->front().status();
    EXPECT_EQ(scores->front()->log_probs_size(), 4);
    const int all = asked;
    ASSERT_GT(all, model.model.config().num_hidden_layers);
    for (int enough = 0; enough < all; ++enough) {
      asked = 0;
      const absl::Status status =
          ScoreBatch(model, {work}, [&] { return asked++ < enough; }).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
      EXPECT_EQ(asked, enough + 1);
    }
  }
  EXPECT_TRUE(RemoveRecursively(folder).ok());
}

TEST(ScoreBatchTest, LogitsOverflow_AnErrorOfThatWork) {
  const std::string folder = WriteDigitModel("score_batch_test", 32);
  WriteOverflowingHead(folder);
  {
    const LoadedModel model = *LoadModelFolder({.folder = folder});
    ScoreWork work;
    work.ids = {1, 2, 3};
    work.mask = {false, false, true};
    const auto scores = ScoreBatch(model, {work, work}, [] { return true; });
    ASSERT_TRUE(scores.ok()) << scores.status();
    ASSERT_EQ(scores->size(), 2u);
    EXPECT_EQ(scores->back().status().code(), absl::StatusCode::kInternal);
  }
  EXPECT_TRUE(RemoveRecursively(folder).ok());
}

}  // namespace
}  // namespace retort::worker
