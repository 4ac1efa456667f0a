// The step state machine of docs/architecture.md: events in, actions out. Pure: no I/O, no clock,
// no randomness, so that a simulation can drive it through any order of losses.
//
// Invariants:
//   current_ is the step to train next; steps below are committed in this epoch or lie in the
//   restored checkpoint. Open steps are current_ .. min(current_ + lag, steps - 1), and only while
//   the learner group is formed. commits_ holds one entry for every step the journal knows, also
//   those that a rewind replays: a replay that differs from it ends the job.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "driver/schedule/action.h"
#include "driver/schedule/config.h"
#include "driver/schedule/eval_board.h"
#include "driver/schedule/event.h"
#include "driver/schedule/learner_group.h"
#include "driver/schedule/phase_times.h"
#include "driver/schedule/snapshot.h"
#include "driver/schedule/train_board.h"
#include "driver/schedule/worker_pool.h"

namespace retort::driver {

// "step-40".
std::string CheckpointName(int64_t step);

// Not thread-safe.
class Scheduler {
 public:
  Scheduler(ScheduleConfig config, History history);

  // Call once, first: journals the epoch.
  std::vector<Action> Start(absl::Duration now);
  // After JobFailed, JobDone or JobStopped nothing comes any more.
  std::vector<Action> Handle(const Event& event, absl::Duration now);

  ScheduleSnapshot snapshot() const;

 private:
  // scheduler.cc: dispatch, leasing.
  void On(const WorkerJoined& joined);
  void On(const WorkerLost& lost);
  void On(const WorkerSaid& said);
  void On(const Tick& tick);
  void On(const StopRequested& stop);
  void OnWorkerReady(WorkerId worker);
  void Advance();
  void OpenSteps();
  void AssignRollouts();
  std::optional<std::pair<v1::BundleKind, HeldKey>> NextRolloutWork();
  void LeaseRollout(int worker, v1::BundleKind kind, HeldKey key);
  void AssignScores();
  void LeaseScore(int scorer, HeldKey key);

  // scheduler_losses.cc: workers that die, hang or cannot deliver.
  void Lose(WorkerId worker, absl::string_view cause);
  void LoseRolloutWorker(int worker, absl::string_view cause);
  void LoseScorer(int scorer, absl::string_view cause);
  void LoseGroup(absl::string_view cause);
  void LoseRollout(HeldKey key, absl::string_view cause);
  void LoseScores(HeldKey key, absl::string_view cause);
  void LoseEvaluation(int worker, const Task& task, absl::string_view cause);
  void Kill(WorkerId worker, absl::string_view cause);
  void Rewind(absl::string_view cause);
  void OnFetchFailed(WorkerId worker, const v1::FetchFailed& failed);
  void OnRolloutFetchFailed(int worker, const Task& task, const v1::FetchFailed& failed);
  void OnLearnerFetchFailed(const v1::FetchFailed& failed);
  bool ScorerStillHolds(const Bundle& bundle, HeldKey key) const;
  void OnWorkFailed(WorkerId worker, const v1::WorkFailed& failed);
  void OnCheckpointUnusable(absl::string_view message);

  // scheduler_reports.cc: finished bundles.
  void OnProgress(WorkerId worker, const v1::Progress& progress);
  void OnRolloutReport(int worker, const v1::RolloutReport& report);
  void OnTrainRollout(int worker, const Task& task, const v1::RolloutReport& report);
  void OnEvalRollout(int worker, const Task& task, const v1::RolloutReport& report);
  void OnScoreReport(int scorer, const v1::ScoreReport& report);
  // "" or what is wrong with the report of this lease.
  std::string CheckRollout(const Task& task, const v1::RolloutReport& report) const;
  bool SameAsJournal(HeldKey key, const Digest& digest);

  // scheduler_learners.cc: the learner group.
  void DriveLearners();
  std::optional<v1::CollectiveKind> ChooseCollective();
  void FormGroup();
  void SendTrainStep();
  bool CheckpointDue() const;
  void SendCheckpoint();
  void SendExport();
  void OnGroupIdentity(int rank, const v1::GroupIdentity& identity);
  void OnLearnerReady(int rank, const v1::LearnerReady& ready);
  void OnGroupReady();
  bool CheckPublished(const v1::LearnerReady& ready);
  void OnTrainReport(int rank, const v1::TrainReport& report);
  void CommitStep();
  bool RanksAgree();
  bool CheckReplay(const CommitDigests& commit);
  void NoteLearnerProgress();
  v1::StepRecord FinishRecord(const OpenStep& open);
  void ReleaseStep(const OpenStep& open);
  void OnCheckpointReport(int rank, const v1::CheckpointReport& report);
  void FinishCheckpoint();
  void OnExportReport(const v1::ExportReport& report);
  void OpenEvals();
  void FinishIfDone();

  WorkerPool& Pool(v1::Role role);
  template <typename T>
  void Emit(T action) {
    actions_.emplace_back(std::move(action));
  }
  void Send(WorkerId worker, v1::DriverMessage message);
  void JournalBundleEvent(BundleEventKind kind, v1::BundleKind bundle_kind, HeldKey key,
                          int attempt, WorkerId worker, absl::string_view cause);
  void Fail(const std::string& message, WorkerId worker = {}, bool bad_input = false);
  void Refuse(WorkerId worker, absl::string_view what);
  void SetFence(v1::Fence* fence, int64_t step, int attempt) const;
  int64_t LeaseMillis(Phase phase) const;
  int64_t BundleRows(v1::BundleKind kind, int index) const;
  const std::string& WeightDigest(int64_t version) const;
  int64_t NewestCheckpoint() const;
  // How many steps just before `step` were bad.
  int BadStepsBefore(int64_t step) const;
  // The version whose ring slot TrainStep current_ overwrites. A checkpoint at current_ lacks it
  // and older ones.
  int64_t OverwrittenVersion() const { return current_ + 1 - (config_.lag + 2); }
  bool Replaying() const { return commits_.contains(current_); }

  const ScheduleConfig config_;
  uint64_t epoch_;
  int64_t current_ = 0;
  int train_attempt_ = 1;
  int bad_in_row_ = 0;
  std::vector<int64_t> checkpoints_;
  std::map<int64_t, CommitDigests> commits_;
  std::map<int64_t, std::vector<Digest>> bundle_digests_;
  std::map<int64_t, bool> evaluated_;

  WorkerPool rollouts_, scorers_, learners_;
  TrainBoard board_;
  EvalBoard evals_;
  PhaseTimes times_;

  LearnerGroup group_;

  bool stopping_ = false;
  absl::Duration stop_at_;
  bool over_ = false;
  int64_t refused_ = 0;
  absl::Duration now_;
  std::vector<Action> actions_;
};

}  // namespace retort::driver
