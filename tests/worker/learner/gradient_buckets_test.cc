#include "worker/learner/gradient_buckets.h"

#include <algorithm>
#include <numeric>

#include "common/base/rng.h"
#include "common/collective/nccl_ranks.h"
#include "gmock/gmock.h"
#include "worker/learner/ppo_step.h"
#include "worker/learner/rank_fixture.h"
#include "worker/learner/sft_step.h"
#include "worker/learner/trainer_checkpoint.h"

namespace retort::worker {
namespace {

using ::testing::Each;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kSmallBucket = 96;  // Of a model of some thousand parameters.
constexpr uint64_t kWeights = 3;

using Range = std::pair<int64_t, int64_t>;

std::vector<Range> RangesOf(const std::vector<layout::ParameterRange>& buckets) {
  std::vector<Range> ranges;
  for (const layout::ParameterRange& bucket : buckets) ranges.push_back({bucket.begin, bucket.end});
  return ranges;
}

// A group of one rank that overlaps, and keeps what it was asked to sum.
class RecordingGroup final : public collective::Collective {
 public:
  int rank() const override { return 0; }
  int world_size() const override { return 1; }
  bool overlaps() const override { return true; }
  absl::Status WaitAll() override {
    ++waits;
    return absl::OkStatus();
  }
  absl::Status Barrier() override { return absl::OkStatus(); }
  absl::StatusOr<at::Tensor> AllocateBuffer(int64_t elements) override {
    buffer_ = at::zeros({elements});
    return buffer_;
  }
  void Abort(absl::string_view) override { ++aborts; }

  std::vector<Range> started;
  std::vector<int> batches_before;  // How many micro-batches were done when each sum began.
  int micro_batches = 0;
  int waits = 0, aborts = 0;
  size_t fail_at = SIZE_MAX;

 protected:
  absl::Status ReduceInPlace(void*, int64_t, collective::ElementType, collective::Memory) override {
    return absl::OkStatus();
  }
  absl::Status StartReduce(void* data, int64_t count, collective::ElementType,
                           collective::Memory) override {
    if (started.size() == fail_at) return absl::InternalError("the wire is cut");
    const int64_t first = static_cast<float*>(data) - buffer_.data_ptr<float>();
    started.push_back({first, first + count});
    batches_before.push_back(micro_batches);
    return absl::OkStatus();
  }
  absl::Status Gather(const void* in, int64_t bytes, void* out, collective::Memory) override {
    std::copy_n(static_cast<const char*>(in), bytes, static_cast<char*>(out));
    return absl::OkStatus();
  }
  absl::Status BroadcastBytes(void*, int64_t, int, collective::Memory) override {
    return absl::OkStatus();
  }

 private:
  at::Tensor buffer_;
};

class GradientBucketsTest : public testing::Test {
 protected:
  GradientBucketsTest() {
    spec_.mutable_algorithm()->mutable_ppo()->set_ppo_epochs(2);
    auto rows = data::Dataset::Parse(
        "{\"prompt\":\"21=\",\"answer\":\"12\"}\n{\"prompt\":\"b\",\"response\":\"ab\"}\n"
        "{\"prompt\":\"7\",\"response\":\"c\"}\n",
        "rows.jsonl");
    EXPECT_TRUE(rows.ok()) << rows.status();
    rows_ = *EncodeSftRows(policy_, *rows, {0, 1, 2});
  }

  std::unique_ptr<Rank> MakeSmallRank(std::shared_ptr<collective::Collective> group) {
    return MakeRank(std::move(group), &spec_, &policy_, PolicyModel(policy_.config), weights_,
                    kSmallBucket);
  }
  std::vector<layout::ParameterRange> Buckets() const {
    return BucketsOf(weights_.layout(), kSmallBucket);
  }
  // About one sequence in each, so that ranks have several.
  void SmallMicroBatches(int64_t tokens) {
    spec_.mutable_optimizer()->set_micro_batch_tokens(tokens);
  }

  Digest PpoDigest(Rank& rank, const StepSamples& samples, StepOutcome* out = nullptr) {
    checkpoint::TrainerState state;
    state.kl_coef = spec_.algorithm().ppo().init_kl_coef();
    StepClock clock;
    auto outcome = RunPpoStep(rank.context, PpoSettingsOf(spec_), samples, state, &clock);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    if (!outcome.ok()) return {};
    if (out != nullptr) *out = *outcome;
    return StateDigest(*rank.model, outcome->state);
  }

  const PolicyText policy_ = tiny::TinyPolicy();
  v1::JobSpec spec_ = tiny::TinyPpoSpec(/*prompts=*/4, /*samples_per_prompt=*/2);
  const tensor::ParameterArena weights_ = tiny::RandomArena(policy_.config, true, kWeights);
  SftRows rows_;
};

TEST_F(GradientBucketsTest, BucketsOf_AnySize_TheArenaOnceAndMatricesFromTheLast) {
  const layout::ParameterLayout& layout = weights_.layout();
  ASSERT_GT(layout.no_decay.size(), 0);
  for (const int64_t size : {int64_t{16}, kSmallBucket, int64_t{1000}, kBucketElements}) {
    std::vector<Range> ranges = RangesOf(BucketsOf(layout, size));
    const auto vectors = std::find_if(ranges.begin(), ranges.end(), [&](const Range& range) {
      return range.first >= layout.decay.end;
    });
    EXPECT_EQ(ranges.front().second, layout.decay.end);
    EXPECT_TRUE(std::is_sorted(ranges.begin(), vectors, std::greater<>()));
    EXPECT_TRUE(std::all_of(vectors, ranges.end(),
                            [&](const Range& range) { return range.first >= layout.decay.end; }));
    std::sort(ranges.begin(), ranges.end());
    int64_t next = 0;
    for (const auto& [begin, end] : ranges) {
      EXPECT_EQ(begin, next);
      EXPECT_LE(end - begin, size);
      next = end;
    }
    EXPECT_EQ(next, layout.total_elements);
  }
}

TEST_F(GradientBucketsTest, OnGradient_InAnyOrder_SumsBeginInOneOrder) {
  const size_t entries = weights_.layout().entries.size();
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto group = std::make_shared<RecordingGroup>();
    const std::unique_ptr<Rank> rank = MakeSmallRank(group);
    CounterRng rng(seed, RngPurpose::kPermutation, 0);
    rank->buckets->ExpectLastBackward();
    for (const int64_t entry : RandomPermutation(static_cast<int64_t>(entries), rng)) {
      rank->buckets->OnGradient(static_cast<size_t>(entry));
    }
    EXPECT_EQ(group->started.size(), Buckets().size()) << "all were complete";
    ASSERT_TRUE(rank->buckets->LaunchRest().ok());
    EXPECT_THAT(group->started, ElementsAreArray(RangesOf(Buckets()))) << "seed " << seed;
    EXPECT_TRUE(rank->buckets->Reduce().ok());
    EXPECT_EQ(group->waits, 1);
  }
}

TEST_F(GradientBucketsTest, OnGradient_BeginsABucketOnlyWhenAllOfItAndOfThoseBeforeIsComplete) {
  const auto group = std::make_shared<RecordingGroup>();
  const std::unique_ptr<Rank> rank = MakeSmallRank(group);
  const std::vector<layout::ParameterEntry>& entries = weights_.layout().entries;
  rank->buckets->ExpectLastBackward();
  std::vector<bool> complete(entries.size(), false);
  for (size_t i = entries.size(); i-- > 0;) {
    rank->buckets->OnGradient(i);
    complete[i] = true;
    size_t want = 0;
    for (const layout::ParameterRange& bucket : Buckets()) {
      bool whole = true;
      for (size_t e = 0; e < entries.size(); ++e) {
        const bool inside = entries[e].offset < bucket.end &&
                            entries[e].offset + entries[e].elements > bucket.begin;
        whole = whole && (!inside || complete[e]);
      }
      if (!whole) break;
      ++want;
    }
    EXPECT_EQ(group->started.size(), want) << "after entry " << i;
  }
}

TEST_F(GradientBucketsTest, LaunchRest_RankWithoutMicroBatch_JoinsEverySum) {
  const auto group = std::make_shared<RecordingGroup>();
  const std::unique_ptr<Rank> rank = MakeSmallRank(group);
  rank->buckets->OnGradient(0);  // Not expected: another micro-batch's.
  EXPECT_THAT(group->started, IsEmpty());
  ASSERT_TRUE(rank->buckets->LaunchRest().ok());
  EXPECT_THAT(group->started, ElementsAreArray(RangesOf(Buckets())));
}

TEST_F(GradientBucketsTest, Backward_OfSeveralMicroBatches_SumsBeginDuringTheLast) {
  spec_.mutable_algorithm()->set_type(v1::ALGORITHM_TYPE_SFT);
  SmallMicroBatches(6);
  const auto group = std::make_shared<RecordingGroup>();
  const std::unique_ptr<Rank> rank = MakeSmallRank(group);
  rank->context.on_micro_batch = [&] {
    ++group->micro_batches;
    return absl::OkStatus();
  };
  for (int update = 0; update < 2; ++update) {
    group->micro_batches = 0;
    group->started.clear();
    group->batches_before.clear();
    const auto sums = AccumulateSftGradient(rank->context, rows_);
    ASSERT_TRUE(sums.ok()) << sums.status();
    ASSERT_EQ(group->micro_batches, 3);
    EXPECT_THAT(group->started, ElementsAreArray(RangesOf(Buckets())));
    const auto& before = group->batches_before;
    // The value head has no part in SFT: its bucket, and what comes after it, begins when the
    // backward is over.
    const int64_t value_head = weights_.layout().value_head.begin;
    const auto first_after =
        std::find_if(group->started.begin(), group->started.end(),
                     [&](const Range& range) { return range.second > value_head; });
    const auto during = first_after - group->started.begin();
    EXPECT_GT(during, static_cast<int64_t>(before.size()) / 2);
    EXPECT_TRUE(std::all_of(before.begin(), before.begin() + during, [](int n) { return n == 2; }));
    EXPECT_TRUE(std::all_of(before.begin() + during, before.end(), [](int n) { return n == 3; }));
    ASSERT_TRUE(rank->buckets->Reduce().ok());
  }
}

TEST_F(GradientBucketsTest, StartFails_LaunchRestAndReduceSaySoAndNothingElseBegins) {
  const auto group = std::make_shared<RecordingGroup>();
  const std::unique_ptr<Rank> rank = MakeSmallRank(group);
  group->fail_at = 2;
  rank->buckets->ExpectLastBackward();
  for (size_t i = 0; i < weights_.layout().entries.size(); ++i) rank->buckets->OnGradient(i);
  EXPECT_EQ(rank->buckets->LaunchRest().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(rank->buckets->Reduce().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(group->started.size(), 2u);
}

TEST_F(GradientBucketsTest, Destroyed_WithSumsUnderWay_TheGroupIsAborted) {
  const auto group = std::make_shared<RecordingGroup>();
  const std::unique_ptr<Rank> rank = MakeSmallRank(group);
  ASSERT_TRUE(rank->buckets->LaunchRest().ok());
  rank->buckets.reset();
  EXPECT_EQ(group->aborts, 1);
  EXPECT_EQ(group->waits, 1);
}

// The fake NCCL adds in rank order, as the local group does: whatever differs is ours.
TEST_F(GradientBucketsTest, PpoStep_OverNccl_SameBitsAsTheSumAtOnce) {
  SmallMicroBatches(16);
  spec_.mutable_algorithm()->mutable_ppo()->set_mini_batch_size(4);
  const StepSamples samples = RandomSamples(spec_, policy_, 0);
  for (const int world_size : {1, 2, 6}) {  // Of six, two have no sample of a mini-batch.
    std::vector<Digest> want(world_size), got(world_size);
    OnRanks(world_size, spec_, policy_, kWeights,
            [&](Rank& rank) { want[rank.group->rank()] = PpoDigest(rank, samples); });
    collective::NcclWorld world(world_size);
    const auto failures = world.Run({}, [&](collective::Collective& group) {
      const std::shared_ptr<collective::Collective> shared(&group, [](auto*) {});
      const std::unique_ptr<Rank> rank = MakeSmallRank(shared);
      got[group.rank()] = PpoDigest(*rank, samples);
      return std::string();
    });
    EXPECT_THAT(failures, Each(IsEmpty()));
    EXPECT_EQ(got, want) << world_size << " ranks";
    world.ExpectClean();
  }
}

TEST_F(GradientBucketsTest, PpoStep_MiniBatchesSkipped_SumsAreWaitedForAndDropped) {
  spec_.mutable_algorithm()->mutable_ppo()->set_mini_batch_size(4);
  spec_.mutable_algorithm()->mutable_ppo()->set_ratio_threshold(1e-6);
  const StepSamples samples = RandomSamples(spec_, policy_, 0);
  collective::NcclWorld world(2);
  const auto failures = world.Run({}, [&](collective::Collective& group) {
    const std::shared_ptr<collective::Collective> shared(&group, [](auto*) {});
    const std::unique_ptr<Rank> rank = MakeSmallRank(shared);
    StepOutcome outcome;
    PpoDigest(*rank, samples, &outcome);
    EXPECT_EQ(outcome.state.optimizer_steps, 0);
    EXPECT_TRUE(rank->model->parameters.flat().equal(weights_.flat()));
    return group.Barrier().ok() ? std::string() : "broken";
  });
  EXPECT_THAT(failures, Each(IsEmpty()));
  world.ExpectClean();
}

TEST_F(GradientBucketsTest, Adapter_OverNccl_SameBitsAsTheSumAtOnce) {
  spec_.mutable_algorithm()->set_type(v1::ALGORITHM_TYPE_SFT);
  v1::LoraSpec& lora = *spec_.mutable_policy()->mutable_lora();
  lora.set_rank(4);
  lora.set_alpha(16);
  lora.add_target_modules("q_proj");
  lora.add_target_modules("gate_proj");
  spec_.mutable_policy()->mutable_init()->set_std(0.1);
  const auto trained = LoadPolicyModel(spec_, policy_.config, /*value_head=*/false);
  ASSERT_TRUE(trained.ok()) << trained.status();
  auto weights = tensor::ParameterArena::Allocate(trained->TrainedLayout(false));
  ASSERT_TRUE(weights.ok());
  ASSERT_TRUE(LoadFirstTrained(spec_, *trained, &*weights).ok());
  std::vector<Digest> want(2), got(2);
  const auto step = [&](Rank& rank) -> Digest {
    StepClock clock;
    const auto outcome = RunSftStep(rank.context, rows_, {}, &clock);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.ok() ? StateDigest(*rank.model, outcome->state) : Digest{};
  };
  OnRanks(2, spec_, policy_, *trained, *weights,
          [&](Rank& rank) { want[rank.group->rank()] = step(rank); });
  collective::NcclWorld world(2);
  world.Run({}, [&](collective::Collective& group) {
    const std::shared_ptr<collective::Collective> shared(&group, [](auto*) {});
    const std::unique_ptr<Rank> rank =
        MakeRank(shared, &spec_, &policy_, *trained, *weights, kSmallBucket);
    got[group.rank()] = step(*rank);
    return std::string();
  });
  EXPECT_EQ(got, want);
  world.ExpectClean();
}

}  // namespace
}  // namespace retort::worker
