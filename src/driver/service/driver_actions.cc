// What schedule and cluster want, done.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "driver/service/driver_loop.h"

namespace retort::driver {
namespace {

// Leases can be repeated, and a group's identity is of the moment: they need not wait for the disk.
// Everything else builds on what was journaled.
bool NeedsDurableJournal(const v1::DriverMessage& message) {
  return !message.has_rollout_lease() && !message.has_score_lease() &&
         !message.has_group_identity();
}

}  // namespace

void DriverLoop::Do(const SendMessage& action) {
  const rpc::ConnectionId connection = cluster_.ConnectionOf(action.worker);
  if (NeedsDurableJournal(action.message)) Check(options_.journal->Flush());
  if (connection != 0 && !over_) SendTo(connection, action.message);
}

void DriverLoop::Do(const KillWorker& action) {
  LogWarning("ended worker={} cause=\"{}\"", NameOf(action.worker), action.cause);
  if (options_.external) {
    Note(absl::StrCat(NameOf(action.worker), " was ended: ", action.cause, "; ", WhoStarts()));
  } else if (action.its_fault) {
    Note(absl::StrCat("replacing ", NameOf(action.worker), ": ", action.cause));
  }
  Check(options_.journal->Write(WorkerEvent{WorkerEventKind::kLost, action.worker,
                                            std::string(cluster_.IncarnationOf(action.worker)), 0,
                                            action.cause}));
  Perform(cluster_.Kill(action.worker, action.cause, action.its_fault, Now()));
}

void DriverLoop::Do(const JournalCommit& action) {
  Check(options_.journal->Write(action, std::exchange(received_bytes_, 0)));
  Check(options_.journal->Flush());
  agent_deaths_ = 0;
  if (over_ || action.step < 0) return;
  LogInfo("committed step={} weights={}", action.step, action.weight_digest);
  Check(options_.metrics->Append(action.record));
  if (options_.observer != nullptr) options_.observer->OnStep(action.record);
}

void DriverLoop::Do(const JournalCheckpoint& action) {
  Check(options_.journal->Write(action));
  Check(options_.journal->Flush());
  LogInfo("checkpoint step={} name={}", action.step, action.name);
}

void DriverLoop::Do(const CheckpointFailed& action) {
  Check(options_.journal->Write(action));
  Note(absl::StrCat("warning: ", action.message, "; training goes on, older checkpoints stay"));
}

void DriverLoop::Do(const DropCheckpoint& action) {
  Check(options_.journal->Write(action));
  Check(options_.journal->Flush());
  const absl::Status removed =
      RemoveRecursively(options_.folder->checkpoints() + "/" + action.name);
  if (!removed.ok()) LogWarning("checkpoint not removed error=\"{}\"", removed.ToString());
}

void DriverLoop::Do(const CleanCheckpoints& action) {
  Check(RemoveAllBut(options_.folder->checkpoints(), action.keep));
}

// Moved first: what the journal does not know is removed when a group forms.
void DriverLoop::Do(const CheckpointUnusable& action) {
  const absl::StatusOr<std::string> kept = options_.folder->SetAside(action.name);
  if (!kept.ok()) {
    return Fail(absl::StrCat("checkpoint ", action.name, " cannot be used (", action.message,
                             ") and cannot be moved out of the way: ", kept.status().message()),
                {});
  }
  Check(options_.journal->Write(action));
  Note(absl::StrCat("warning: checkpoint ", action.name, " cannot be used (", action.message, "); ",
                    kept->empty() ? "it is gone" : absl::StrCat("it is kept in ", *kept),
                    "; going back to the one before"));
}

void DriverLoop::Do(const JournalEpoch& action) {
  Check(options_.journal->Write(action));
  LogInfo("epoch={} step={} cause=\"{}\"", action.epoch, action.step, action.cause);
  if (action.cause != "started" && action.cause != "resumed") {
    Note(absl::StrCat("going on from step ", action.step, " (", action.cause, ")"));
  }
}

void DriverLoop::Do(const JournalEval& action) {
  Check(options_.journal->Write(action));
  Check(options_.journal->Flush());
  Check(options_.metrics->Append(action.record));
  if (options_.observer != nullptr) options_.observer->OnEval(action.record);
}

void DriverLoop::Do(const Warn& action) { LogWarning("{}", action.message); }

void DriverLoop::Do(const JobFailed& action) {
  Fail(action.message, action.worker, action.bad_input);
  if (action.bad_input)
    result_.log_tail.clear();  // The message names the file; the log tells no more.
}

void DriverLoop::Do(const JobDone& action) {
  over_ = true;
  result_.end = RunEnd::kDone;
  result_.weight_digest = action.weight_digest;
  result_.model_path = action.model_path;
}

void DriverLoop::Do(const JobStopped&) {
  over_ = true;
  result_.end = RunEnd::kStopped;
}

void DriverLoop::Do(const CloseEffect& effect) {
  // A person started this worker wrongly; its own output may be on another machine.
  if (absl::IsFailedPrecondition(effect.status) && effect.status.message() != last_refusal_) {
    last_refusal_ = std::string(effect.status.message());
    Note(absl::StrCat("refused a worker: ", last_refusal_));
  }
  service_->Close(effect.connection, effect.status);
}

void DriverLoop::Do(const SpawnEffect& effect) {
  const std::string name = NameOf(effect.worker);
  Check(options_.journal->Write(
      WorkerEvent{WorkerEventKind::kSpawned, effect.worker, effect.incarnation, 0, ""}));
  v1::DriverMessage message;
  v1::SpawnChild* spawn = message.mutable_spawn_child();
  spawn->set_worker(name);
  spawn->set_role(effect.worker.role);
  spawn->set_index(effect.worker.index);
  spawn->set_incarnation(effect.incarnation);
  const auto threads = options_.threads.find(effect.worker.role);
  spawn->set_threads(threads == options_.threads.end() ? 1 : threads->second);
  const auto failpoints = options_.failpoints.find(name);
  if (failpoints != options_.failpoints.end()) {
    for (const std::string& failpoint : failpoints->second) spawn->add_failpoints(failpoint);
    options_.failpoints.erase(failpoints);  // The next process of this name runs without.
  }
  if (agent_connection_ != 0) SendTo(agent_connection_, message);
}

void DriverLoop::Do(const KillEffect& effect) {
  if (shutting_down_) return;  // It ends by itself, or with the agent.
  v1::DriverMessage message;
  message.mutable_kill_child()->set_worker(NameOf(effect.worker));
  message.mutable_kill_child()->set_incarnation(effect.incarnation);
  if (agent_connection_ != 0) SendTo(agent_connection_, message);
}

void DriverLoop::Do(const JoinedEffect& effect) {
  const int64_t pid = cluster_.PidOf(effect.worker);
  LogInfo("joined worker={} pid={} host={}", NameOf(effect.worker), pid, effect.host.host_identity);
  Check(options_.journal->Write(
      WorkerEvent{WorkerEventKind::kJoined, effect.worker, effect.incarnation, pid, ""}));
  SendWelcome(effect.connection, effect.worker);
  Feed(WorkerJoined{effect.worker, effect.incarnation, effect.host});
}

// Workers that this run did not start come by themselves, or not.
absl::string_view DriverLoop::WhoStarts() const {
  return options_.external ? "waiting until it is started again" : "it is started again";
}

void DriverLoop::Do(const LostEffect& effect) {
  Check(options_.journal->Write(WorkerEvent{WorkerEventKind::kLost, effect.worker,
                                            effect.incarnation, effect.pid, effect.cause}));
  if (!shutting_down_) {
    LogWarning("lost worker={} cause=\"{}\"", NameOf(effect.worker), effect.cause);
    Note(absl::StrCat(NameOf(effect.worker), " was lost (", effect.cause, "); ", WhoStarts()));
  }
  Feed(WorkerLost{effect.worker, effect.incarnation, effect.cause});
}

}  // namespace retort::driver
