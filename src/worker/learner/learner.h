// The state of one learner rank between commands, without the wire: weights, moments, trainer
// state, publisher.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/collective/collective.h"
#include "common/data/dataset.h"
#include "common/ring/segment.h"
#include "retort/v1/control.pb.h"
#include "worker/learner/fetch_bundles.h"
#include "worker/learner/step_clock.h"
#include "worker/learner/step_outcome.h"
#include "worker/learner/trainer_checkpoint.h"
#include "worker/learner/training_context.h"
#include "worker/weight_sync/policy_model.h"
#include "worker/weight_sync/policy_source.h"
#include "worker/weight_sync/publisher.h"
#include "worker/weight_sync/weight_segment.h"

namespace retort::worker {

// What does not change while the process lives.
struct LearnerJob {
  v1::JobSpec spec;
  std::string run_dir;
  PolicyText policy;
  PolicyModel model{policy.config};    // With LoRA: it holds the base. Says on which device.
  std::optional<data::Dataset> train;  // SFT only.

  ring::WeightRingShape ring_shape() const {
    return WeightRingShapeOf(model, spec.algorithm().lag(), WeightTransportOf(spec));
  }
  bool reinforcement() const { return spec.algorithm().type() == v1::ALGORITHM_TYPE_PPO; }
};

// Reads the policy's config and tokenizer, with LoRA the base weights, and for SFT the rows.
absl::StatusOr<LearnerJob> LoadLearnerJob(const v1::JobSpec& spec, const std::string& run_dir,
                                          const PolicyPlace& place = {});

struct TrainedStep {
  StepOutcome outcome;
  v1::PublishedVersion published;
  Digest state_digest;
  std::string bad_batch_path;  // Rank 0, after a bad step; empty if it could not be written.
};

// What a step is trained on, known to be complete on every rank.
struct StepInput {
  FetchedBundles bundles;     // RL.
  std::vector<int64_t> rows;  // SFT.
  double fetch_seconds = 0;
};

// Not thread-safe. Valid for one group: a new FormGroup makes a new one.
class Learner {
 public:
  // `publisher`: of rank 0, if any role reads the policy's weights; it outlives the learner.
  // Restores RUN/checkpoints/`checkpoint`, or the first weights if it is empty, and publishes the
  // versions that open steps need. INVALID_ARGUMENT if `checkpoint` is no committed checkpoint's
  // name.
  static absl::StatusOr<std::unique_ptr<Learner>> Start(
      const LearnerJob* job, std::shared_ptr<collective::Collective> group, Publisher* publisher,
      const std::string& checkpoint);

  // FAILED_PRECONDITION if `step` is not the next one. Other errors leave the learner unusable
  // until a new group.
  absl::StatusOr<TrainedStep> Train(int64_t step, StepInput input,
                                    std::function<absl::Status()> on_micro_batch);

  // Collective. The manifest's digest on rank 0.
  absl::StatusOr<Digest> WriteCheckpoint(int64_t step, uint64_t epoch);

  // Any rank. With LoRA the model at `path` is the base with the adapter merged into it, and the
  // adapter itself goes to RUN/adapter. Returns the digest of the policy version written.
  absl::StatusOr<Digest> Export(const std::string& path) const;

  const checkpoint::TrainerState& state() const { return state_; }
  std::vector<v1::PublishedVersion> published() const;  // Rank 0 with a ring; ascending.
  collective::Collective& group() { return *group_; }

 private:
  Learner() = default;
  absl::Status RestoreOrBegin(const std::string& checkpoint);
  absl::Status PublishOlder(const checkpoint::FoundCheckpoint& found);
  absl::StatusOr<Digest> Publish(int64_t version);
  absl::StatusOr<StepOutcome> RunStep(StepInput& input, StepClock* clock,
                                      std::string* bad_batch_path);
  absl::StatusOr<StepOutcome> RunRlStep(const FetchedBundles& bundles, StepClock* clock,
                                        std::string* bad_batch_path);

  const LearnerJob* job_ = nullptr;
  std::shared_ptr<collective::Collective> group_;
  std::unique_ptr<TrainedModel> model_;
  std::unique_ptr<GradientBuckets> buckets_;
  Publisher* publisher_ = nullptr;
  TrainingContext context_;
  checkpoint::TrainerState state_;
};

}  // namespace retort::worker
