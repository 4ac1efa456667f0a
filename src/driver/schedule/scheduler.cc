#include "driver/schedule/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace retort::driver {

std::string CheckpointName(int64_t step) { return absl::StrCat("step-", step); }

Scheduler::Scheduler(ScheduleConfig config, History history)
    : config_(std::move(config)),
      epoch_(history.epoch),
      checkpoints_(std::move(history.checkpoints)),
      commits_(std::move(history.commits)),
      bundle_digests_(std::move(history.bundles)),
      evaluated_(std::move(history.evaluated)),
      rollouts_(v1::ROLE_ROLLOUT, config_.rollouts),
      scorers_(v1::ROLE_SCORER, config_.scorers),
      learners_(v1::ROLE_LEARNER, config_.learners),
      board_(static_cast<int>(config_.TrainBundles()), config_.scorers > 0),
      evals_(static_cast<int>(config_.EvalBundles())),
      times_(absl::Seconds(config_.lease_floor_seconds),
             absl::Seconds(config_.storage_floor_seconds)) {
  current_ = NewestCheckpoint();
  bad_in_row_ = BadStepsBefore(current_);
}

std::vector<Action> Scheduler::Start(absl::Duration now) {
  now_ = group_.last_commit = now;
  Emit(JournalEpoch{epoch_, current_, epoch_ == 1 ? "started" : "resumed"});
  return std::exchange(actions_, {});
}

std::vector<Action> Scheduler::Handle(const Event& event, absl::Duration now) {
  if (over_) return {};
  now_ = now;
  std::visit([this](const auto& e) { On(e); }, event);
  if (!over_) Advance();
  return std::exchange(actions_, {});
}

void Scheduler::On(const WorkerJoined& joined) {
  Pool(joined.worker.role).Join(joined.worker.index, joined.incarnation, joined.host, epoch_, now_);
}

void Scheduler::On(const WorkerLost& lost) {
  WorkerPool& pool = Pool(lost.worker.role);
  if (!pool.joined(lost.worker.index)) return;
  if (pool.incarnation(lost.worker.index) != lost.incarnation) return;
  Lose(lost.worker, lost.cause);
}

void Scheduler::On(const WorkerSaid& said) {
  const WorkerId worker = said.worker;
  WorkerPool& pool = Pool(worker.role);
  if (!pool.joined(worker.index) || pool.incarnation(worker.index) != said.incarnation) {
    return Refuse(worker, "a message of a replaced process");
  }
  const v1::WorkerMessage& message = said.message;
  const bool rollout = worker.role == v1::ROLE_ROLLOUT;
  const bool scorer = worker.role == v1::ROLE_SCORER;
  const bool learner = worker.role == v1::ROLE_LEARNER;
  if (message.has_worker_ready()) return OnWorkerReady(worker);
  if (message.has_progress()) return OnProgress(worker, message.progress());
  if (message.has_fetch_failed()) return OnFetchFailed(worker, message.fetch_failed());
  if (message.has_work_failed()) return OnWorkFailed(worker, message.work_failed());
  if (rollout && message.has_rollout_report()) {
    return OnRolloutReport(worker.index, message.rollout_report());
  }
  if (scorer && message.has_score_report()) {
    return OnScoreReport(worker.index, message.score_report());
  }
  if (learner && message.has_group_identity()) {
    return OnGroupIdentity(worker.index, message.group_identity());
  }
  if (learner && message.has_learner_ready()) {
    return OnLearnerReady(worker.index, message.learner_ready());
  }
  if (learner && message.has_train_report()) {
    return OnTrainReport(worker.index, message.train_report());
  }
  if (learner && message.has_checkpoint_report()) {
    return OnCheckpointReport(worker.index, message.checkpoint_report());
  }
  if (learner && message.has_export_report()) return OnExportReport(message.export_report());
  Refuse(worker, "a message that its role does not send");
}

void Scheduler::OnWorkerReady(WorkerId worker) {
  WorkerPool& pool = Pool(worker.role);
  if (pool.task(worker.index).phase != Phase::kLoad) return Refuse(worker, "a second WorkerReady");
  pool.Finish(worker.index, true, times_, now_);
}

void Scheduler::On(const Tick& tick) {
  for (WorkerPool* pool : {&rollouts_, &scorers_, &learners_}) {
    pool->Excuse(tick.away, now_);
    const absl::Duration unit_limit = absl::Seconds(config_.unit_limit_seconds);
    for (const Expiry& expiry : pool->Expired(times_, unit_limit, now_)) {
      if (over_ || !pool->joined(expiry.index)) continue;  // Ended together with another one.
      Kill({pool->role(), expiry.index}, expiry.cause);
    }
  }
  if (!over_ && stopping_ && now_ - stop_at_ > absl::Seconds(config_.stop_seconds)) {
    Emit(JobStopped{});
    over_ = true;
  }
}

void Scheduler::On(const StopRequested&) {
  if (stopping_) return;
  stopping_ = true;
  stop_at_ = now_;
}

void Scheduler::Advance() {
  OpenSteps();
  AssignRollouts();
  AssignScores();
  DriveLearners();
}

void Scheduler::OpenSteps() {
  if (!group_.ready_in_epoch || stopping_) return;
  const int64_t last = std::min(current_ + config_.lag, config_.steps - 1);
  int64_t next = board_.empty() ? current_ : board_.next_step();
  for (; next <= last; ++next) {
    board_.Open(next, config_.VersionOf(next), config_.rows_of_step(next), now_);
  }
}

std::optional<std::pair<v1::BundleKind, HeldKey>> Scheduler::NextRolloutWork() {
  // An evaluation that holds up the next TrainStep or checkpoint goes first: TRAIN bundles could
  // not be used anyway.
  if (const auto key = evals_.Next(OverwrittenVersion()))
    return std::make_pair(v1::BUNDLE_KIND_EVAL, *key);
  if (stopping_) return std::nullopt;
  if (const auto key = board_.NextRollout()) return std::make_pair(v1::BUNDLE_KIND_TRAIN, *key);
  if (const auto key = evals_.Next(current_)) return std::make_pair(v1::BUNDLE_KIND_EVAL, *key);
  return std::nullopt;
}

void Scheduler::AssignRollouts() {
  if (!group_.ready_in_epoch) return;
  for (int worker = rollouts_.FirstIdle(); worker >= 0; worker = rollouts_.FirstIdle()) {
    const auto work = NextRolloutWork();
    if (!work.has_value()) return;
    LeaseRollout(worker, work->first, work->second);
  }
}

void Scheduler::LeaseRollout(int worker, v1::BundleKind kind, HeldKey key) {
  const bool train = kind == v1::BUNDLE_KIND_TRAIN;
  const Phase phase = train ? Phase::kGenerate : Phase::kEvaluate;
  v1::DriverMessage message;
  v1::RolloutLease* lease = message.mutable_rollout_lease();
  int attempt = 0;
  if (train) {
    board_.Change(key, {BundleChange::kLease, worker});
    OpenStep& open = *board_.Find(key.step);
    attempt = open.bundles[key.index].attempt;
    lease->set_version(open.version);
    lease->set_first_slot(key.index * config_.bundle_slots);
    const auto first = open.rows.begin() + lease->first_slot();
    lease->mutable_rows()->Add(first, first + BundleRows(kind, key.index));
    if (!std::exchange(open.times.leased, true)) open.times.first_lease = now_;
  } else {
    attempt = evals_.Lease(key, worker);
    lease->set_version(key.step);
    lease->set_first_slot(key.index * config_.eval_bundle_rows);
    for (int64_t i = 0; i < BundleRows(kind, key.index); ++i) {
      lease->add_rows(lease->first_slot() + i);
    }
  }
  SetFence(lease->mutable_fence(), key.step, attempt);
  lease->mutable_bundle()->set_kind(kind);
  lease->mutable_bundle()->set_step(key.step);
  lease->mutable_bundle()->set_index(key.index);
  lease->set_version_digest(WeightDigest(lease->version()));
  lease->set_deadline_ms(LeaseMillis(phase));
  const WorkerHost& publisher = learners_.host(0);
  lease->mutable_weights()->set_address(publisher.artifact_address);
  lease->mutable_weights()->set_host_identity(publisher.host_identity);
  lease->mutable_weights()->set_base_digest(group_.base_digest);
  rollouts_.Begin(worker, Task{phase, epoch_, key.step, key.index, attempt}, now_);
  const WorkerId id{v1::ROLE_ROLLOUT, worker};
  JournalBundleEvent(BundleEventKind::kLeased, kind, key, attempt, id, "");
  Send(id, std::move(message));
}

void Scheduler::AssignScores() {
  if (!group_.ready_in_epoch || stopping_) return;
  for (int scorer = scorers_.FirstIdle(); scorer >= 0; scorer = scorers_.FirstIdle()) {
    const auto key = board_.NextScore();
    if (!key.has_value()) return;
    LeaseScore(scorer, *key);
  }
}

void Scheduler::LeaseScore(int scorer, HeldKey key) {
  board_.Change(key, {BundleChange::kScoreLease, scorer});
  OpenStep& open = *board_.Find(key.step);
  const Bundle& bundle = open.bundles[key.index];
  if (!std::exchange(open.times.score_leased, true)) open.times.first_score_lease = now_;
  v1::DriverMessage message;
  v1::ScoreLease* lease = message.mutable_score_lease();
  SetFence(lease->mutable_fence(), key.step, bundle.score_attempt);
  lease->mutable_bundle()->set_kind(v1::BUNDLE_KIND_TRAIN);
  lease->mutable_bundle()->set_step(key.step);
  lease->mutable_bundle()->set_index(key.index);
  SetRef(*bundle.held, lease->mutable_rollout());
  lease->set_deadline_ms(LeaseMillis(Phase::kScore));
  scorers_.Begin(scorer, Task{Phase::kScore, epoch_, key.step, key.index, bundle.score_attempt},
                 now_);
  const WorkerId id{v1::ROLE_SCORER, scorer};
  JournalBundleEvent(BundleEventKind::kScoreLeased, v1::BUNDLE_KIND_TRAIN, key,
                     bundle.score_attempt, id, "");
  Send(id, std::move(message));
}

WorkerPool& Scheduler::Pool(v1::Role role) {
  if (role == v1::ROLE_ROLLOUT) return rollouts_;
  return role == v1::ROLE_SCORER ? scorers_ : learners_;
}

void Scheduler::Send(WorkerId worker, v1::DriverMessage message) {
  Emit(SendMessage{worker, std::move(message)});
}

void Scheduler::JournalBundleEvent(BundleEventKind kind, v1::BundleKind bundle_kind, HeldKey key,
                                   int attempt, WorkerId worker, absl::string_view cause) {
  JournalBundle entry;
  entry.kind = kind;
  entry.bundle.set_kind(bundle_kind);
  entry.bundle.set_step(key.step);
  entry.bundle.set_index(key.index);
  entry.attempt = attempt;
  entry.worker = worker;
  if (worker.role != v1::ROLE_UNSPECIFIED)
    entry.incarnation = Pool(worker.role).incarnation(worker.index);
  entry.cause = std::string(cause);
  Emit(std::move(entry));
}

void Scheduler::Fail(const std::string& message, WorkerId worker, bool bad_input) {
  if (over_) return;
  over_ = true;
  Emit(JobFailed{message, worker, bad_input});
}

void Scheduler::Refuse(WorkerId worker, absl::string_view what) {
  ++refused_;
  Emit(Warn{absl::StrCat("refused a message worker=", NameOf(worker), " what=\"", what, "\"")});
}

void Scheduler::SetFence(v1::Fence* fence, int64_t step, int attempt) const {
  fence->set_epoch(epoch_);
  fence->set_step(step);
  fence->set_attempt(attempt);
}

int64_t Scheduler::LeaseMillis(Phase phase) const {
  return absl::ToInt64Milliseconds(times_.Patience(phase));
}

int64_t Scheduler::BundleRows(v1::BundleKind kind, int index) const {
  const bool train = kind == v1::BUNDLE_KIND_TRAIN;
  const int64_t each = train ? config_.bundle_slots : config_.eval_bundle_rows;
  const int64_t all = train ? config_.slots_per_step : config_.eval_rows;
  return std::min(each, all - index * each);
}

const std::string& Scheduler::WeightDigest(int64_t version) const {
  return commits_.at(version - 1).weight_digest;
}

int64_t Scheduler::NewestCheckpoint() const {
  return checkpoints_.empty() ? 0 : checkpoints_.back();
}

int Scheduler::BadStepsBefore(int64_t step) const {
  int bad = 0;
  while (commits_.contains(step - 1 - bad) && commits_.at(step - 1 - bad).bad_step) ++bad;
  return bad;
}

ScheduleSnapshot Scheduler::snapshot() const {
  ScheduleSnapshot snapshot;
  snapshot.epoch = epoch_;
  snapshot.generation = group_.generation;
  snapshot.current_step = current_;
  snapshot.committed_steps = commits_.empty() ? 0 : commits_.rbegin()->first + 1;
  snapshot.newest_checkpoint = NewestCheckpoint();
  snapshot.refused_messages = refused_;
  snapshot.replaying = Replaying();
  return snapshot;
}

}  // namespace retort::driver
