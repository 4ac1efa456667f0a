// The learner group: form, train, checkpoint, export. All ranks do the same work at the same time,
// and a step counts only when all of them report the same digests.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "driver/schedule/scheduler.h"

namespace retort::driver {
namespace {

constexpr size_t kMaxIdentityBytes = 128;

}  // namespace

void Scheduler::DriveLearners() {
  if (group_.phase == LearnerGroup::kDown) {
    if (stopping_) {
      Emit(JobStopped{});
      over_ = true;
    } else if (learners_.AllIdle()) {
      FormGroup();
    }
    return;
  }
  if (group_.phase != LearnerGroup::kIdle) return;
  // An evaluation pins its version; a checkpoint must hold every version that is still to be
  // evaluated.
  const bool pinned = evals_.PinsUpTo(OverwrittenVersion());
  if (CheckpointDue()) {
    if (!pinned) SendCheckpoint();
    return;
  }
  if (stopping_) {
    Emit(JobStopped{});
    over_ = true;
    return;
  }
  if (current_ == config_.steps) {
    if (!group_.exported) return SendExport();
    return FinishIfDone();
  }
  if (!pinned && board_.Ready(current_)) SendTrainStep();
}

// What the ranks reduce over; nothing if what the job asks for cannot be. Only workers know their
// hosts and who started them, so the plan could not refuse it.
std::optional<v1::CollectiveKind> Scheduler::ChooseCollective() {
  if (config_.collective == v1::COLLECTIVE_KIND_NCCL) return config_.collective;
  std::optional<int> elsewhere, without_mpi;
  for (int rank = learners_.size() - 1; rank >= 0; --rank) {
    if (learners_.host(rank).host_identity != learners_.host(0).host_identity) elsewhere = rank;
    if (!learners_.host(rank).under_mpirun) without_mpi = rank;
  }
  if (config_.collective == v1::COLLECTIVE_KIND_MPI && without_mpi) {
    Fail(absl::StrCat("cluster.learner.collective is mpi, but mpirun did not start learner-",
                      *without_mpi, "; start the workers with deploy/mpirun.sh"),
         {v1::ROLE_LEARNER, *without_mpi});
    return std::nullopt;
  }
  if (config_.collective != v1::COLLECTIVE_KIND_SHM && !without_mpi) {
    return v1::COLLECTIVE_KIND_MPI;
  }
  if (!elsewhere) return v1::COLLECTIVE_KIND_SHM;
  Fail(absl::StrCat("learner-0 is on host ", learners_.host(0).host_identity, ", learner-",
                    *elsewhere, " on host ", learners_.host(*elsewhere).host_identity,
                    ", and learners reduce over shared memory; start all learners on one host, or "
                    "with deploy/mpirun.sh and without cluster.learner.collective: shm"),
       {v1::ROLE_LEARNER, *elsewhere});
  return std::nullopt;
}

void Scheduler::FormGroup() {
  const std::optional<v1::CollectiveKind> collective = ChooseCollective();
  if (!collective) return;
  group_.phase = LearnerGroup::kForming;
  ++group_.generation;
  group_.collective = *collective;
  group_.identified = false;
  group_.readies.clear();
  CleanCheckpoints clean;
  for (const int64_t step : checkpoints_) clean.keep.push_back(CheckpointName(step));
  Emit(std::move(clean));
  for (int rank = 0; rank < learners_.size(); ++rank) {
    v1::DriverMessage message;
    v1::FormGroup* form = message.mutable_form_group();
    form->set_epoch(epoch_);
    form->set_generation(group_.generation);
    form->set_world_size(learners_.size());
    form->set_rank(rank);
    form->set_collective(*collective);
    if (!checkpoints_.empty()) form->set_checkpoint(CheckpointName(checkpoints_.back()));
    learners_.Begin(rank, Task{Phase::kForm, epoch_, current_, 0, 0}, now_);
    Send({v1::ROLE_LEARNER, rank}, std::move(message));
  }
}

// Rank 0 alone knows how the others find it; this passes on what it says, once for each generation.
void Scheduler::OnGroupIdentity(int rank, const v1::GroupIdentity& identity) {
  const WorkerId id{v1::ROLE_LEARNER, rank};
  const bool forming =
      group_.phase == LearnerGroup::kForming && group_.collective == v1::COLLECTIVE_KIND_NCCL;
  if (!forming || identity.epoch() != epoch_ || identity.generation() != group_.generation) {
    return Refuse(id, "a stale GroupIdentity");
  }
  if (rank != 0) return Refuse(id, "a GroupIdentity that rank 0 alone may send");
  if (group_.identified) return Refuse(id, "a second GroupIdentity of its group");
  if (identity.id().empty() || identity.id().size() > kMaxIdentityBytes) {
    return Kill(id, absl::StrCat("bad GroupIdentity: ", identity.id().size(),
                                 " bytes, expected 1 to ", kMaxIdentityBytes));
  }
  group_.identified = true;
  for (int other = 1; other < learners_.size(); ++other) {
    v1::DriverMessage message;
    *message.mutable_group_identity() = identity;
    Send({v1::ROLE_LEARNER, other}, std::move(message));
  }
}

void Scheduler::OnLearnerReady(int rank, const v1::LearnerReady& ready) {
  const WorkerId id{v1::ROLE_LEARNER, rank};
  if (group_.phase != LearnerGroup::kForming || ready.epoch() != epoch_ ||
      ready.generation() != group_.generation) {
    return Refuse(id, "a stale LearnerReady");
  }
  if (ready.step() != current_) {
    return Fail(absl::StrCat(NameOf(id), " restored step ", ready.step(), ", expected ", current_),
                id);
  }
  learners_.Finish(rank, true, times_, now_);
  group_.readies[rank] = ready;
  if (static_cast<int>(group_.readies.size()) == learners_.size()) OnGroupReady();
}

void Scheduler::OnGroupReady() {
  const std::string& digest = group_.readies[0].weight_digest();
  for (const auto& [rank, ready] : group_.readies) {
    if (ready.weight_digest() != digest) {
      return Fail(absl::StrCat("learner-", rank, " starts from weights ", ready.weight_digest(),
                               ", learner-0 from ", digest),
                  {v1::ROLE_LEARNER, rank});
    }
    if (ready.base_digest() != group_.readies[0].base_digest()) {
      return Fail(
          absl::StrCat("learner-", rank, " trains an adapter of base weights ", ready.base_digest(),
                       ", learner-0 one of ", group_.readies[0].base_digest(),
                       "; policy.path must hold the same files on every host"),
          {v1::ROLE_LEARNER, rank});
    }
  }
  group_.base_digest = group_.readies[0].base_digest();
  if (!commits_.contains(current_ - 1)) {
    if (current_ != 0) {
      return Fail(absl::StrCat("the journal has no commit of step ", current_ - 1));
    }
    commits_[-1] = CommitDigests{digest, "", false};
    Emit(JournalCommit{-1, digest, "", false, {}});
  }
  if (!CheckPublished(group_.readies[0])) return;
  group_.phase = LearnerGroup::kIdle;
  group_.ready_in_epoch = true;
  OpenEvals();
  OpenSteps();
  group_.last_commit = now_;
}

bool Scheduler::CheckPublished(const v1::LearnerReady& ready) {
  if (ready.weight_digest() != WeightDigest(current_)) {
    Fail(absl::StrCat("divergence: version ", current_, " has digest ", ready.weight_digest(),
                      " after the restore and had ", WeightDigest(current_),
                      " when it was committed"));
    return false;
  }
  if (config_.rollouts == 0) return true;
  for (int64_t version = config_.VersionOf(current_); version <= current_; ++version) {
    const auto found =
        std::find_if(ready.published().begin(), ready.published().end(),
                     [&](const v1::PublishedVersion& p) { return p.version() == version; });
    if (found == ready.published().end()) {
      Fail(absl::StrCat("learner-0 did not publish version ", version, " for step ", current_));
      return false;
    }
    if (found->digest() != WeightDigest(version)) {
      Fail(absl::StrCat("divergence: version ", version, " was published with digest ",
                        found->digest(), " and had ", WeightDigest(version),
                        " when it was committed"));
      return false;
    }
  }
  return true;
}

void Scheduler::OpenEvals() {
  for (int64_t version = config_.VersionOf(current_); version <= current_; ++version) {
    if (config_.Evaluates(version) && !evaluated_.contains(version) && !evals_.IsOpen(version)) {
      evals_.Open(version);
    }
  }
}

void Scheduler::SendTrainStep() {
  if (train_attempt_ > config_.max_bundle_attempts) {
    return Fail(absl::StrCat("step ", current_, " could not be fetched by the learners ",
                             train_attempt_ - 1, " times"));
  }
  group_.phase = LearnerGroup::kTraining;
  group_.train_reports.clear();
  group_.train_sent = now_;
  OpenStep& open = *board_.Find(current_);
  v1::DriverMessage message;
  v1::TrainStep* train = message.mutable_train_step();
  SetFence(train->mutable_fence(), current_, train_attempt_);
  train->set_deadline_ms(LeaseMillis(Phase::kTrain));
  if (!config_.reinforcement) train->mutable_rows()->Add(open.rows.begin(), open.rows.end());
  for (size_t i = 0; i < open.bundles.size(); ++i) {
    const Bundle& bundle = open.bundles[i];
    v1::TrainBundle* out = train->add_bundles();
    out->mutable_bundle()->set_kind(v1::BUNDLE_KIND_TRAIN);
    out->mutable_bundle()->set_step(current_);
    out->mutable_bundle()->set_index(static_cast<int>(i));
    SetRef(*bundle.held, out->mutable_rollout());
    if (bundle.scores != nullptr) SetRef(*bundle.scores, out->mutable_scores());
  }
  for (int rank = 0; rank < learners_.size(); ++rank) {
    learners_.Begin(rank, Task{Phase::kTrain, epoch_, current_, 0, train_attempt_}, now_);
    Send({v1::ROLE_LEARNER, rank}, message);
  }
}

void Scheduler::OnTrainReport(int rank, const v1::TrainReport& report) {
  const WorkerId id{v1::ROLE_LEARNER, rank};
  if (group_.phase != LearnerGroup::kTraining || !learners_.Matches(rank, report.fence())) {
    return Refuse(id, "a stale TrainReport");
  }
  learners_.Finish(rank, true, times_, now_);
  group_.train_reports[rank] = report;
  if (static_cast<int>(group_.train_reports.size()) == learners_.size()) CommitStep();
}

bool Scheduler::RanksAgree() {
  const v1::TrainReport& first = group_.train_reports[0];
  for (const auto& [rank, report] : group_.train_reports) {
    if (report.published().version() != current_ + 1) {
      Fail(absl::StrCat("learner-", rank, " published version ", report.published().version(),
                        " after step ", current_));
      return false;
    }
    if (report.published().digest() == first.published().digest() &&
        report.state_digest() == first.state_digest() && report.bad_step() == first.bad_step()) {
      continue;
    }
    Fail(
        absl::StrCat("the learner ranks disagree after step ", current_, ": learner-0 has weights ",
                     first.published().digest(), " and state ", first.state_digest(), ", learner-",
                     rank, " has ", report.published().digest(), " and ", report.state_digest()),
        {v1::ROLE_LEARNER, rank});
    return false;
  }
  return true;
}

bool Scheduler::CheckReplay(const CommitDigests& commit) {
  const auto known = commits_.find(current_);
  if (known == commits_.end()) return true;
  const bool weights = known->second.weight_digest == commit.weight_digest;
  if (weights && known->second.state_digest == commit.state_digest) return true;
  Fail(absl::StrCat(
      "divergence: step ", current_, " ended with ", weights ? "state " : "weights ",
      weights ? commit.state_digest : commit.weight_digest, " in this replay and with ",
      weights ? known->second.state_digest : known->second.weight_digest,
      " when it was committed; the same build on the same kind of CPU must repeat it"));
  return false;
}

void Scheduler::CommitStep() {
  if (!RanksAgree()) return;
  const v1::TrainReport& first = group_.train_reports[0];
  bad_in_row_ = first.bad_step() ? bad_in_row_ + 1 : 0;
  if (bad_in_row_ > config_.max_bad_steps) {
    return Fail(absl::StrCat(
        "step ", current_, ": loss or gradient was not finite in ", bad_in_row_,
        " steps in a row (algorithm.max_bad_steps is ", config_.max_bad_steps, ")",
        first.bad_batch_path().empty() ? "" : "; its batch is saved in ", first.bad_batch_path()));
  }
  const CommitDigests commit{first.published().digest(), first.state_digest(), first.bad_step()};
  if (!CheckReplay(commit)) return;
  OpenStep& open = *board_.Find(current_);
  if (!commits_.contains(current_)) {
    commits_[current_] = commit;
    Emit(JournalCommit{current_, commit.weight_digest, commit.state_digest, commit.bad_step,
                       FinishRecord(open)});
    NoteLearnerProgress();
  }
  ReleaseStep(open);
  group_.last_commit = now_;
  board_.CloseOldest();
  ++current_;
  train_attempt_ = 1;
  group_.phase = LearnerGroup::kIdle;
  OpenEvals();
  OpenSteps();
}

// A group that forms, or repeats what was committed, may die at the same place for ever: only what
// was never reached before forgives the ranks their deaths.
void Scheduler::NoteLearnerProgress() {
  for (int rank = 0; rank < learners_.size(); ++rank) Emit(ProgressNoted{{v1::ROLE_LEARNER, rank}});
}

v1::StepRecord Scheduler::FinishRecord(const OpenStep& open) {
  v1::StepRecord record = group_.train_reports[0].record();
  record.set_step(open.step);
  record.set_weight_digest(group_.train_reports[0].published().digest());
  auto& seconds = *record.mutable_phase_seconds();
  const double step_seconds = absl::ToDoubleSeconds(now_ - group_.last_commit);
  seconds["step"] = step_seconds;
  seconds["idle"] = std::max(
      0.0,
      step_seconds - absl::ToDoubleSeconds(now_ - std::max(group_.train_sent, group_.last_commit)));
  if (!config_.reinforcement) return record;
  auto& scalars = *record.mutable_scalars();
  const StepTimes& times = open.times;
  seconds["generate"] = absl::ToDoubleSeconds(times.last_report - times.first_lease);
  if (times.score_leased) {
    seconds["score"] = absl::ToDoubleSeconds(times.last_score - times.first_score_lease);
  }
  seconds["install"] = times.install_seconds;
  seconds["score_fetch"] = times.fetch_seconds;
  scalars["rollout/generated_tokens"] = static_cast<double>(times.generated_tokens);
  if (times.generate_seconds > 0) {
    scalars["rollout/tokens_per_second"] =
        static_cast<double>(times.generated_tokens) / std::max(seconds["generate"], 1e-9);
  }
  scalars["rollout/staleness"] = static_cast<double>(open.step - open.version);
  scalars["rollout/redone"] = static_cast<double>(times.redone);
  if (record.samples().empty()) {
    for (v1::SampleText& sample : PickSamples(open.samples, 8)) {
      *record.add_samples() = std::move(sample);
    }
  }
  return record;
}

void Scheduler::ReleaseStep(const OpenStep& open) {
  std::set<int> holders, scorers;
  for (const Bundle& bundle : open.bundles) {
    if (bundle.worker >= 0) holders.insert(bundle.worker);
    if (bundle.scorer >= 0) scorers.insert(bundle.scorer);
  }
  v1::DriverMessage message;
  message.mutable_release_artifacts()->set_epoch(epoch_);
  message.mutable_release_artifacts()->set_up_to_step(open.step);
  for (const int index : holders) {
    if (rollouts_.joined(index)) Send({v1::ROLE_ROLLOUT, index}, message);
  }
  for (const int index : scorers) {
    if (scorers_.joined(index)) Send({v1::ROLE_SCORER, index}, message);
  }
}

void Scheduler::FinishIfDone() {
  if (!evals_.empty()) return;
  over_ = true;
  Emit(JobDone{WeightDigest(config_.steps), group_.exported_path});
}

}  // namespace retort::driver
