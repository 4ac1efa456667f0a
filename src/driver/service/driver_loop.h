// The driver's single event loop: what workers say goes through cluster and schedule, what these
// want is done: journaled, sent, started, ended. No algorithm lives here.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/metrics/jsonl_writer.h"
#include "common/rpc/attach_service.h"
#include "common/rpc/event_queue.h"
#include "driver/cluster/cluster.h"
#include "driver/schedule/scheduler.h"
#include "driver/service/agent_launcher.h"
#include "driver/service/run_observer.h"
#include "driver/store/journal.h"
#include "driver/store/run_folder.h"

namespace retort::driver {

struct DriverLoopOptions {
  std::string job_id;
  v1::JobSpec spec;
  ScheduleConfig schedule;
  History history;
  std::map<v1::Role, int> threads;
  // Worker name -> failpoints of its first process.
  std::map<std::string, std::vector<std::string>> failpoints;
  const RunFolder* folder = nullptr;
  Journal* journal = nullptr;
  metrics::JsonlWriter* metrics = nullptr;
  bool external = false;                      // No agent: workers come by themselves.
  std::map<std::string, std::string> inputs;  // What IdentifyInputs gave: workers compare.
  RunObserver* observer = nullptr;
  const std::atomic<int>* stop_signals = nullptr;  // How many stop signals came.
  Clock* clock = Clock::Real();
  absl::Duration tick = absl::Milliseconds(100);
  absl::Duration worker_grace = absl::Seconds(3);  // To end after Shutdown.
};

enum class RunEnd { kDone, kFailed, kStopped };
struct RunResult {
  RunEnd end = RunEnd::kFailed;
  std::string message;     // kFailed: what went wrong.
  std::string worker;      // kFailed: whose log tells more; may be empty.
  std::string log_tail;    // Its last lines.
  bool bad_input = false;  // kFailed: a file or value of the job is at fault.
  std::string weight_digest, model_path;
  int64_t next_step = 0;        // Steps that are committed.
  int64_t checkpoint_step = 0;  // Of the newest checkpoint; 0: none.
};

class DriverLoop {
 public:
  explicit DriverLoop(DriverLoopOptions options);

  // Where the Attach service delivers. Thread-safe.
  void Deliver(rpc::AttachEvent event) { queue_.Push(std::move(event)); }

  // Runs the job to its end on the calling thread, and ends all workers in order.
  // `agent` is nullptr for external workers.
  RunResult Run(rpc::AttachService* service, AgentLauncher* agent);

 private:
  void On(const rpc::ConnectionOpened& opened);
  void On(const rpc::MessageReceived& received);
  void On(const rpc::ConnectionClosed& closed);
  void OnAgentHello(rpc::ConnectionId connection, const v1::Hello& hello);
  void SeeStopSignals();
  void Take(const rpc::AttachEvent& event);
  void HandleQueued();
  void OnTick();
  void LoseAgent(const std::string& cause);
  void LaunchAgent();

  void Feed(const Event& event);
  void Perform(std::vector<Action> actions);
  void Perform(std::vector<ClusterEffect> effects);
  void Do(const SendMessage& action);
  void Do(const KillWorker& action);
  void Do(const JournalBundle& action) { Check(options_.journal->Write(action)); }
  void Do(const JournalCommit& action);
  void Do(const JournalCheckpoint& action);
  void Do(const CheckpointFailed& action);
  void Do(const DropCheckpoint& action);
  void Do(const CleanCheckpoints& action);
  void Do(const CheckpointUnusable& action);
  void Do(const JournalEpoch& action);
  void Do(const JournalEval& action);
  void Do(const ProgressNoted& action) { cluster_.NoteProgress(action.worker); }
  void Do(const Warn& action);
  void Do(const JobFailed& action);
  void Do(const JobDone& action);
  void Do(const JobStopped& action);
  void Do(const SpawnEffect& effect);
  void Do(const KillEffect& effect);
  void Do(const JoinedEffect& effect);
  absl::string_view WhoStarts() const;
  void Do(const LostEffect& effect);
  void Do(const CloseEffect& effect);
  void Do(const GiveUpEffect& effect) { Fail(effect.message, effect.worker, effect.bad_input); }

  void SendTo(rpc::ConnectionId connection, const v1::DriverMessage& message);
  void SendWelcome(rpc::ConnectionId connection, WorkerId worker);
  void Check(const absl::Status& status);
  void Fail(const std::string& message, WorkerId worker, bool bad_input = false);
  void Note(const std::string& line);
  void ShutDown();
  void Drain(absl::Duration timeout, const std::function<bool()>& done);
  RunState State() const;
  absl::Duration Now() { return options_.clock->Now(); }

  DriverLoopOptions options_;
  rpc::EventQueue<rpc::AttachEvent> queue_;
  rpc::AttachService* service_ = nullptr;
  AgentLauncher* agent_ = nullptr;
  Cluster cluster_;
  Scheduler scheduler_;
  std::string agent_incarnation_;
  rpc::ConnectionId agent_connection_ = 0;
  int agent_deaths_ = 0;
  std::string broker_socket_;
  int64_t received_bytes_ = 0;
  std::string last_refusal_;
  absl::Duration last_tick_, next_tick_;
  int signals_seen_ = 0;
  bool over_ = false;
  bool shutting_down_ = false;
  RunResult result_;
};

}  // namespace retort::driver
