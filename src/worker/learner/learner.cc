#include "worker/learner/learner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/folder_name.h"
#include "common/checkpoint/hugging_face_export.h"
#include "common/layout/parameter_layout.h"
#include "common/tensor/parameter_arena.h"
#include "common/tensor/torch_process.h"
#include "worker/learner/bad_batch.h"
#include "worker/learner/ppo_step.h"
#include "worker/learner/sft_step.h"
#include "worker/learner/step_samples.h"
#include "worker/learner/step_times.h"

namespace retort::worker {
namespace {

v1::PublishedVersion MakePublished(int64_t version, const Digest& digest) {
  v1::PublishedVersion published;
  published.set_version(version);
  published.set_digest(digest.ToHex());
  return published;
}

StepShape ShapeOf(const LearnerJob& job, int64_t step) {
  const v1::JobSpec& spec = job.spec;
  return {.step = step,
          .version = std::max<int64_t>(0, step - spec.algorithm().lag()),
          .prompts = spec.data().prompts_per_step(),
          .samples_per_prompt = spec.data().samples_per_prompt(),
          .mask = job.policy.mask,
          .full_reference = spec.algorithm().ppo().kl_penalty() == v1::KL_PENALTY_FULL};
}

// The batch is there for a person to look at: a full disk must not end the rank that trains on.
std::string PathIfSaved(const absl::StatusOr<std::string>& saved) {
  if (saved.ok()) return *saved;
  LogWarning("bad batch not saved error=\"{}\"", saved.status().ToString());
  return "";
}

}  // namespace

absl::StatusOr<LearnerJob> LoadLearnerJob(const v1::JobSpec& spec, const std::string& run_dir,
                                          const PolicyPlace& place) {
  LearnerJob job;
  job.spec = spec;
  job.run_dir = run_dir;
  RETORT_ASSIGN_OR_RETURN(job.policy, LoadPolicyText(spec));
  RETORT_ASSIGN_OR_RETURN(job.model,
                          LoadPolicyModel(spec, job.policy.config, job.reinforcement(), place));
  if (!job.reinforcement()) {
    RETORT_ASSIGN_OR_RETURN(job.train, data::Dataset::Load(spec.data().train()));
  }
  return job;
}

absl::StatusOr<std::unique_ptr<Learner>> Learner::Start(
    const LearnerJob* job, std::shared_ptr<collective::Collective> group, Publisher* publisher,
    const std::string& checkpoint) {
  auto learner = std::unique_ptr<Learner>(new Learner);
  learner->job_ = job;
  learner->group_ = std::move(group);
  const layout::ParameterLayout layout = job->model.TrainedLayout(job->reinforcement());
  RETORT_ASSIGN_OR_RETURN(const at::Tensor gradients,
                          learner->group_->AllocateBuffer(layout.total_elements));
  RETORT_ASSIGN_OR_RETURN(learner->model_, MakeTrainedModel(job->model, layout, gradients));
  learner->buckets_ =
      std::make_unique<GradientBuckets>(learner->model_.get(), learner->group_.get());
  learner->publisher_ = publisher;
  TrainingContext& context = learner->context_;
  context.spec = &job->spec;
  context.policy = &job->policy;
  context.group = learner->group_.get();
  context.model = learner->model_.get();
  context.buckets = learner->buckets_.get();
  context.optimizer = OptimizerSettingsOf(job->spec);
  RETORT_ASSIGN_OR_RETURN(context.lr_schedule, LrScheduleOf(job->spec));
  RETORT_RETURN_IF_ERROR(learner->RestoreOrBegin(checkpoint));
  return learner;
}

absl::Status Learner::RestoreOrBegin(const std::string& checkpoint) {
  if (checkpoint.empty()) {
    state_.kl_coef = job_->spec.algorithm().ppo().init_kl_coef();
    RETORT_ASSIGN_OR_RETURN(TrainedModel::State first, model_->HostState());
    RETORT_RETURN_IF_ERROR(LoadFirstTrained(job_->spec, job_->model, &first.parameters));
    RETORT_RETURN_IF_ERROR(tensor::CatchTorch([&] { model_->SetState(first); }));
  } else {
    // The name came over the wire: it must not reach out of the run's folder.
    if (!checkpoint::CommittedStep(checkpoint).has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("asked to restore checkpoint \"",
                                                     Printable(checkpoint), "\"; expected step-N"));
    }
    RETORT_ASSIGN_OR_RETURN(
        const checkpoint::FoundCheckpoint found,
        RestoreCheckpoint(absl::StrCat(job_->run_dir, "/checkpoints/", checkpoint),
                          CheckpointConfigDigest(job_->policy, job_->model, job_->reinforcement()),
                          model_.get()));
    state_ = found.manifest.state;
    RETORT_RETURN_IF_ERROR(PublishOlder(found));
  }
  RETORT_ASSIGN_OR_RETURN(state_.weight_digest, Publish(state_.step));
  return absl::OkStatus();
}

// Rollouts of the steps to come still want the last `lag` versions.
absl::Status Learner::PublishOlder(const checkpoint::FoundCheckpoint& found) {
  if (publisher_ == nullptr) return absl::OkStatus();
  const at::Tensor weights = at::empty({found.manifest.published_elements}, at::kFloat);
  for (const checkpoint::VersionRecord& record : found.manifest.versions) {
    RETORT_RETURN_IF_ERROR(checkpoint::LoadWeightVersion(found, record.version, weights));
    RETORT_RETURN_IF_ERROR(
        publisher_->Publish(record.version, weights, record.weight_digest).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<Digest> Learner::Publish(int64_t version) {
  const at::Tensor weights = model_->Published();
  if (publisher_ != nullptr) return publisher_->Publish(version, weights);
  return tensor::CatchTorch([&] { return DigestOfWeights(weights); });
}

std::vector<v1::PublishedVersion> Learner::published() const {
  std::vector<v1::PublishedVersion> published;
  if (publisher_ == nullptr) return published;
  for (const Publisher::Held& held : publisher_->held()) {
    published.push_back(MakePublished(held.version, held.digest));
  }
  return published;
}

absl::StatusOr<TrainedStep> Learner::Train(int64_t step, StepInput input,
                                           std::function<absl::Status()> on_micro_batch) {
  if (step != state_.step) {
    return absl::FailedPreconditionError(
        absl::StrCat("asked to train step ", step, ", but the next one here is ", state_.step));
  }
  context_.on_micro_batch = std::move(on_micro_batch);
  StepClock clock;
  TrainedStep trained;
  RETORT_ASSIGN_OR_RETURN(trained.outcome, RunStep(input, &clock, &trained.bad_batch_path));
  state_ = trained.outcome.state;
  RETORT_ASSIGN_OR_RETURN(state_.weight_digest,
                          clock.Time("publish", [&] { return Publish(state_.step); }));
  trained.published = MakePublished(state_.step, state_.weight_digest);
  trained.state_digest = StateDigest(*model_, state_);
  clock.Add("fetch", input.fetch_seconds);
  AddStepTimes(clock, job_->reinforcement(), &trained.outcome.record);
  return trained;
}

absl::StatusOr<StepOutcome> Learner::RunStep(StepInput& input, StepClock* clock,
                                             std::string* bad_batch_path) {
  if (job_->reinforcement()) return RunRlStep(input.bundles, clock, bad_batch_path);
  RETORT_ASSIGN_OR_RETURN(const SftRows rows,
                          EncodeSftRows(job_->policy, *job_->train, input.rows));
  RETORT_ASSIGN_OR_RETURN(StepOutcome outcome, RunSftStep(context_, rows, state_, clock));
  if (outcome.bad && group_->rank() == 0) {
    *bad_batch_path = PathIfSaved(SaveBadBatch(job_->run_dir, state_.step, outcome.why, rows));
  }
  return outcome;
}

absl::StatusOr<StepOutcome> Learner::RunRlStep(const FetchedBundles& bundles, StepClock* clock,
                                               std::string* bad_batch_path) {
  RETORT_ASSIGN_OR_RETURN(
      const StepSamples samples,
      AssembleSamples(ShapeOf(*job_, state_.step), bundles.rollouts, bundles.scores));
  RETORT_ASSIGN_OR_RETURN(StepOutcome outcome,
                          RunPpoStep(context_, PpoSettingsOf(job_->spec), samples, state_, clock));
  if (outcome.bad && group_->rank() == 0) {
    *bad_batch_path = PathIfSaved(SaveBadBatch(job_->run_dir, state_.step, outcome.why, samples));
  }
  return outcome;
}

absl::StatusOr<Digest> Learner::WriteCheckpoint(int64_t step, uint64_t epoch) {
  if (step != state_.step) {
    return absl::FailedPreconditionError(absl::StrCat("asked for a checkpoint of step ", step,
                                                      ", but the next step here is ", state_.step));
  }
  CheckpointContents contents;
  contents.model = model_.get();
  contents.state = state_;
  contents.config_digest = CheckpointConfigDigest(job_->policy, job_->model, job_->reinforcement());
  if (publisher_ != nullptr) {
    for (const Publisher::Held& held : publisher_->held()) {
      const bool needed =
          held.version < step && held.version >= step - job_->spec.algorithm().lag();
      if (needed) contents.versions.push_back(held);
    }
  }
  return SaveCheckpoint({.directory = job_->run_dir + "/checkpoints", .step = step, .epoch = epoch},
                        contents, *group_);
}

absl::StatusOr<Digest> Learner::Export(const std::string& path) const {
  const layout::ModelConfig& config = job_->policy.config;
  RETORT_ASSIGN_OR_RETURN(const tensor::ParameterArena trained,
                          model_->parameters.On(at::kCPU, at::kFloat));
  tensor::ParameterArena weights = trained;
  if (job_->model.adapted()) {
    RETORT_RETURN_IF_ERROR(checkpoint::ExportAdapter(job_->run_dir + "/adapter", config,
                                                     job_->model.adapter(), trained));
    RETORT_ASSIGN_OR_RETURN(weights, job_->model.Merge(trained));
  }
  RETORT_RETURN_IF_ERROR(
      checkpoint::ExportHuggingFace(path, config, weights, PolicyFolder(job_->spec)));
  return state_.weight_digest;
}

}  // namespace retort::worker
