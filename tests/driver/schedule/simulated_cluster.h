// Workers without processes: they obey the schedule's actions, "compute" digests that depend on
// exactly what real work depends on, keep artifacts, and can be killed, hung and impersonated in
// any order.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "driver/schedule/scheduler.h"

namespace retort::driver {

struct SimulationOptions {
  uint64_t seed = 1;
  double loss_rate = 0;    // Chance per delivered event that some worker dies.
  double hang_rate = 0;    // Chance per message that its worker never finishes.
  double zombie_rate = 0;  // Chance per event that a message of an earlier process arrives (again).
  double restart_rate =
      0;  // Chance per event that the driver itself dies and resumes from the journal.
  double stop_rate = 0;  // Chance per event that the run is stopped and resumed.
};

class SimulatedCluster {
 public:
  SimulatedCluster(ScheduleConfig config, const SimulationOptions& options);

  // Until the job ends, at most `max_events`. Returns false if it did not end.
  bool Run(int64_t max_events = 10'000'000);

  void RestartDriver() { StartDriver(); }
  void KillNow(WorkerId worker) { Die(worker, true); }

  // Makes the results of this bundle differ from now on, as broken memory would.
  void Corrupt(int64_t step, int index) { corrupt_.insert({step, index}); }
  void CorruptWeights(int64_t step) { corrupt_weights_.insert(step); }
  void MarkBad(int64_t step) { bad_steps_.insert(step); }
  void BreakCheckpoint(const std::string& name) { broken_checkpoints_.insert(name); }

  // What the journal holds.
  const std::map<int64_t, JournalCommit>& commits() const { return commits_; }
  const std::map<int64_t, v1::EvalRecord>& evals() const { return evals_; }
  const std::vector<JournalBundle>& bundle_log() const { return bundle_log_; }
  const std::vector<JournalEpoch>& epochs() const { return epochs_; }
  const std::vector<std::string>& unusable() const { return unusable_; }

  const std::string& failure() const { return failure_; }
  const std::string& done_digest() const { return done_digest_; }
  const std::vector<std::string>& violations() const { return violations_; }
  int64_t events() const { return events_; }
  int losses() const { return losses_; }
  int restarts() const { return restarts_; }
  int64_t refused() const { return refused_ + scheduler_->snapshot().refused_messages; }

 private:
  struct Process {
    bool alive = false;
    std::string incarnation;
    std::set<std::string> artifacts;  // Ids.
  };
  struct Pending {  // A message on its way to the driver.
    WorkerId worker;
    std::string incarnation;
    v1::WorkerMessage message;
  };
  struct Saved {
    int64_t step = 0;
    std::map<int64_t, std::string> ring;
  };

  void StartDriver();
  void Join(WorkerId worker);
  void Die(WorkerId worker, bool tell_driver);
  void Feed(const Event& event);
  void Do(const SendMessage& send);
  void Do(const KillWorker& kill);
  void Do(const JournalBundle& entry) { bundle_log_.push_back(entry); }
  void Do(const JournalCommit& commit);
  void Do(const JournalCheckpoint& checkpoint);
  void Do(const DropCheckpoint& drop);
  void Do(const CleanCheckpoints&) {}
  void Do(const CheckpointFailed&) {}
  void Do(const CheckpointUnusable& unusable);
  void Do(const JournalEpoch& epoch);
  void Do(const JournalEval& eval);
  void Do(const ProgressNoted&) {}
  void Do(const Warn&) {}
  void Do(const JobFailed& failed) { failure_ = failed.message.empty() ? "?" : failed.message; }
  void Do(const JobDone& done) { done_digest_ = done.weight_digest; }
  void Do(const JobStopped&) { stopped_ = true; }

  void Obey(WorkerId worker, const v1::DriverMessage& message);
  void Generate(WorkerId worker, const v1::RolloutLease& lease);
  void Score(WorkerId worker, const v1::ScoreLease& lease);
  void Form(WorkerId worker, const v1::FormGroup& form);
  void Train(WorkerId worker, const v1::TrainStep& train);
  void Reply(WorkerId worker, v1::WorkerMessage message);
  bool Reachable(const v1::ArtifactRef& ref) const;
  bool Chance(double probability);
  void Disturb();
  WorkerId RandomWorker();

  const ScheduleConfig config_;
  const SimulationOptions options_;
  std::mt19937_64 random_;
  std::unique_ptr<Scheduler> scheduler_;
  absl::Duration now_;
  int64_t events_ = 0;
  int losses_ = 0, restarts_ = 0, next_incarnation_ = 0;
  int64_t refused_ = 0;
  bool stopped_ = false;

  std::map<WorkerId, Process> processes_;
  std::deque<WorkerId> joining_;
  std::vector<Pending> pending_;
  std::vector<Pending> old_messages_;
  std::map<int, std::map<int64_t, std::string>>
      ring_of_rank_;  // Rank -> version -> digest, as published.
  std::map<int, int64_t> step_of_rank_;

  std::map<std::string, Saved> saved_;
  std::set<std::pair<int64_t, int>> corrupt_;
  std::set<int64_t> corrupt_weights_, bad_steps_;
  std::set<std::string> broken_checkpoints_;

  std::map<int64_t, JournalCommit> commits_;
  std::vector<int64_t> checkpoints_;
  std::map<int64_t, v1::EvalRecord> evals_;
  std::vector<JournalBundle> bundle_log_;
  std::vector<JournalEpoch> epochs_;
  std::vector<std::string> unusable_, violations_;
  std::string failure_, done_digest_;
};

}  // namespace retort::driver
