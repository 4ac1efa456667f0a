// Workers that die, hang or cannot deliver. Lost rollouts and scores are made again; a lost learner
// rank ends the group, and everything from the newest checkpoint on is done again in a new epoch.
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "driver/schedule/scheduler.h"

namespace retort::driver {

void Scheduler::Kill(WorkerId worker, absl::string_view cause) {
  Emit(KillWorker{worker, std::string(cause), true});
  Lose(worker, cause);
}

void Scheduler::Lose(WorkerId worker, absl::string_view cause) {
  switch (worker.role) {
    case v1::ROLE_ROLLOUT:
      return LoseRolloutWorker(worker.index, cause);
    case v1::ROLE_SCORER:
      return LoseScorer(worker.index, cause);
    case v1::ROLE_LEARNER:
      learners_.Lose(worker.index);
      return LoseGroup(absl::StrCat(NameOf(worker), ": ", cause));
    default:
      return;
  }
}

void Scheduler::LoseRolloutWorker(int worker, absl::string_view cause) {
  const std::deque<HeldKey> held = rollouts_.held(worker);
  const Task task = rollouts_.Lose(worker);
  const HeldKey leased{task.step, task.index};
  if (task.epoch == epoch_ && task.phase == Phase::kEvaluate) LoseEvaluation(worker, task, cause);
  if (task.epoch == epoch_ && task.phase == Phase::kGenerate) LoseRollout(leased, cause);
  for (const HeldKey key : held) {
    const OpenStep* open = board_.Find(key.step);
    if (open == nullptr || over_) continue;
    const Bundle& bundle = open->bundles[key.index];
    if (bundle.rollout != RolloutPhase::kHeld || bundle.worker != worker) continue;
    if (group_.phase == LearnerGroup::kTraining && key.step == current_) {
      board_.Change(key, {BundleChange::kOrphan});
      JournalBundleEvent(BundleEventKind::kOrphaned, v1::BUNDLE_KIND_TRAIN, key, bundle.attempt, {},
                         cause);
    } else {
      LoseRollout(key, cause);
    }
  }
}

void Scheduler::LoseEvaluation(int worker, const Task& task, absl::string_view cause) {
  if (!evals_.Lose({task.step, task.index}, worker, task.attempt)) return;
  if (task.attempt < config_.max_bundle_attempts) return;
  Fail(absl::StrCat("evaluation bundle ", task.index, " of version ", task.step, " was lost ",
                    task.attempt, " times, last: ", cause));
}

void Scheduler::LoseRollout(HeldKey key, absl::string_view cause) {
  OpenStep& open = *board_.Find(key.step);
  const int attempt = open.bundles[key.index].attempt;
  if (board_.Change(key, {BundleChange::kLoseRollout}) == BundleVerdict::kRefused) return;
  ++open.times.redone;
  JournalBundleEvent(BundleEventKind::kLost, v1::BUNDLE_KIND_TRAIN, key, attempt, {}, cause);
  if (attempt < config_.max_bundle_attempts) return;
  Fail(absl::StrCat("bundle ", key.index, " of step ", key.step, " was lost ", attempt,
                    " times, last: ", cause));
}

void Scheduler::LoseScorer(int scorer, absl::string_view cause) {
  const std::deque<HeldKey> held = scorers_.held(scorer);
  const Task task = scorers_.Lose(scorer);
  if (task.epoch == epoch_ && task.phase == Phase::kScore) {
    LoseScores({task.step, task.index}, cause);
  }
  for (const HeldKey key : held) {
    const OpenStep* open = board_.Find(key.step);
    if (open == nullptr || over_) continue;
    const Bundle& bundle = open->bundles[key.index];
    if (bundle.score != ScorePhase::kHeld || bundle.scorer != scorer) continue;
    // While the step trains the learners may have the scores already; if not, they say so.
    if (group_.phase == LearnerGroup::kTraining && key.step == current_) continue;
    LoseScores(key, cause);
  }
}

void Scheduler::LoseScores(HeldKey key, absl::string_view cause) {
  OpenStep* open = board_.Find(key.step);
  if (open == nullptr) return;
  const int attempt = open->bundles[key.index].score_attempt;
  if (board_.Change(key, {BundleChange::kLoseScores}) == BundleVerdict::kRefused) return;
  ++open->times.redone;
  JournalBundleEvent(BundleEventKind::kScoreLost, v1::BUNDLE_KIND_TRAIN, key, attempt, {}, cause);
  if (attempt < config_.max_bundle_attempts) return;
  Fail(absl::StrCat("the scores of bundle ", key.index, " of step ", key.step, " were lost ",
                    attempt, " times, last: ", cause));
}

void Scheduler::LoseGroup(absl::string_view cause) {
  if (group_.phase == LearnerGroup::kDown) return;  // No rank has any state yet.
  group_.phase = LearnerGroup::kDown;
  group_.readies.clear();
  for (int rank = 0; rank < learners_.size(); ++rank) {
    if (!learners_.joined(rank)) continue;
    Emit(KillWorker{{v1::ROLE_LEARNER, rank}, absl::StrCat("the group lost ", cause), false});
    learners_.Lose(rank);
  }
  if (group_.ready_in_epoch) Rewind(cause);
}

void Scheduler::Rewind(absl::string_view cause) {
  ++epoch_;
  current_ = NewestCheckpoint();
  train_attempt_ = 1;
  bad_in_row_ = BadStepsBefore(current_);
  group_.failed_checkpoint = -1;  // What kept it from its disk may be gone with its ranks.
  group_.ready_in_epoch = false;
  group_.exported = false;
  board_.Clear();
  evals_.Clear();
  Emit(JournalEpoch{epoch_, current_, std::string(cause)});
  for (const WorkerPool* pool : {&rollouts_, &scorers_}) {
    for (int index = 0; index < pool->size(); ++index) {
      if (!pool->joined(index)) continue;
      v1::DriverMessage message;
      message.mutable_release_artifacts()->set_epoch(epoch_);
      message.mutable_release_artifacts()->set_up_to_step(-1);
      Send({pool->role(), index}, std::move(message));
    }
  }
}

void Scheduler::OnFetchFailed(WorkerId worker, const v1::FetchFailed& failed) {
  WorkerPool& pool = Pool(worker.role);
  if (!pool.Matches(worker.index, failed.fence())) return Refuse(worker, "a stale FetchFailed");
  if (worker.role == v1::ROLE_LEARNER) return OnLearnerFetchFailed(failed);
  const Task task = pool.task(worker.index);
  pool.Finish(worker.index, false, times_, now_);
  if (task.epoch != epoch_) return;
  if (worker.role == v1::ROLE_ROLLOUT) return OnRolloutFetchFailed(worker.index, task, failed);
  const HeldKey key{task.step, task.index};
  const Bundle& bundle = board_.Find(key.step)->bundles[key.index];
  const bool same =
      bundle.rollout == RolloutPhase::kHeld && bundle.attempt == bundle.scored_attempt;
  const WorkerId holder{v1::ROLE_ROLLOUT, bundle.worker};
  LoseScores(key, absl::StrCat("fetch failed: ", failed.message()));
  if (same) Kill(holder, absl::StrCat("its artifact cannot be fetched: ", failed.message()));
}

// The policy's weights did not reach a worker of another host. Nobody is to blame: if the learner
// died, its stream says so, and a network comes back. The bundle is leased again, to any worker.
void Scheduler::OnRolloutFetchFailed(int worker, const Task& task, const v1::FetchFailed& failed) {
  const std::string cause = absl::StrCat("its worker cannot fetch the weights: ", failed.message());
  if (task.phase == Phase::kGenerate) return LoseRollout({task.step, task.index}, cause);
  LoseEvaluation(worker, task, cause);
}

// The ranks agree on what they could fetch before they start a step: when one says so, all gave the
// attempt up and wait for the next TrainStep.
void Scheduler::OnLearnerFetchFailed(const v1::FetchFailed& failed) {
  if (group_.phase != LearnerGroup::kTraining) return;
  group_.phase = LearnerGroup::kIdle;
  ++train_attempt_;
  group_.train_reports.clear();
  for (int rank = 0; rank < learners_.size(); ++rank) learners_.Finish(rank, false, times_, now_);
  const std::string cause = absl::StrCat("a learner cannot fetch it: ", failed.message());
  OpenStep& open = *board_.Find(current_);
  WorkerId suspect;
  for (int i = 0; i < static_cast<int>(open.bundles.size()) && !over_; ++i) {
    const Bundle& bundle = open.bundles[i];
    const HeldKey key{current_, i};
    if (bundle.held != nullptr && bundle.held->id == failed.artifact_id() &&
        bundle.held->address == failed.address() && bundle.rollout == RolloutPhase::kHeld) {
      suspect = {v1::ROLE_ROLLOUT, bundle.worker};
    }
    if (bundle.scores != nullptr && bundle.scores->id == failed.artifact_id() &&
        bundle.scores->address == failed.address() && ScorerStillHolds(bundle, key)) {
      suspect = {v1::ROLE_SCORER, bundle.scorer};
    }
    if (bundle.rollout == RolloutPhase::kOrphaned) LoseRollout(key, cause);
    if (bundle.scores != nullptr && !ScorerStillHolds(bundle, key)) LoseScores(key, cause);
  }
  if (suspect.role != v1::ROLE_UNSPECIFIED && !over_) Kill(suspect, cause);
}

bool Scheduler::ScorerStillHolds(const Bundle& bundle, HeldKey key) const {
  for (const HeldKey held : scorers_.held(bundle.scorer)) {
    if (held.step == key.step && held.index == key.index) return true;
  }
  return false;  // It died, or another process took its place.
}

void Scheduler::OnWorkFailed(WorkerId worker, const v1::WorkFailed& failed) {
  WorkerPool& pool = Pool(worker.role);
  if (!pool.Matches(worker.index, failed.fence())) return Refuse(worker, "a stale WorkFailed");
  const Task task = pool.task(worker.index);
  if (task.epoch != epoch_) {
    pool.Finish(worker.index, false, times_, now_);  // Its versions are gone; so is the lease.
    return;
  }
  const auto code = static_cast<absl::StatusCode>(failed.code());
  if (task.phase == Phase::kCheckpoint) {
    group_.checkpoint_failures[worker.index] = failed.message();
    pool.Finish(worker.index, false, times_, now_);
    return FinishCheckpoint();
  }
  const bool bad_data = code == absl::StatusCode::kDataLoss || code == absl::StatusCode::kNotFound;
  if (task.phase == Phase::kForm && bad_data && !checkpoints_.empty()) {
    return OnCheckpointUnusable(failed.message());
  }
  if (code == absl::StatusCode::kInvalidArgument || code == absl::StatusCode::kDataLoss) {
    return Fail(failed.message(), worker, /*bad_input=*/true);
  }
  Kill(worker, absl::StrCat("work failed: ", failed.message()));
}

void Scheduler::OnCheckpointUnusable(absl::string_view message) {
  Emit(CheckpointUnusable{CheckpointName(checkpoints_.back()), std::string(message)});
  checkpoints_.pop_back();
  group_.ready_in_epoch =
      true;  // Whatever was restored so far is void: go back one checkpoint in a new epoch.
  LoseGroup(absl::StrCat("checkpoint unusable: ", message));
}

}  // namespace retort::driver
