// Who is alive: which process fills which place of the plan, when one must be started or ended, and
// when dying too often ends the job. Pure: time and new incarnations are passed in, effects are
// returned.
//
// Embedded workers are children of the agent: the driver names their incarnation and respawns them.
// External workers (mpirun, a cluster) come by themselves: the driver gives them a role and can
// only hang up on them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "driver/cluster/cluster_effect.h"
#include "driver/cluster/worker_id.h"
#include "retort/v1/control.pb.h"

namespace retort::driver {

struct ClusterOptions {
  int scorers = 0;
  int rollouts = 0;
  int learners = 0;
  bool external = false;
  std::string build;  // A worker of another build is refused.
  // A process that does not say hello in time is replaced: loading libraries takes a second.
  absl::Duration hello_timeout = absl::Seconds(60);
  // A process whose stream ended may be on its way out: how it exits says why, so it gets a moment
  // before it is killed. It is fenced already.
  absl::Duration exit_grace = absl::Seconds(1);
  // A killed process whose end nobody reports in time is killed again.
  absl::Duration kill_timeout = absl::Seconds(10);
  int max_deaths = 5;  // In a row, without progress in between.
  std::function<std::string()> new_incarnation;
};

// Not thread-safe.
class Cluster {
 public:
  explicit Cluster(ClusterOptions options);

  // The agent said hello: everything it must run is spawned. Embedded only.
  std::vector<ClusterEffect> OnAgentJoined(absl::Duration now);
  // With the agent all its children die.
  std::vector<ClusterEffect> OnAgentLost(absl::Duration now);

  // A worker said hello. Returns Joined, Lost of the process that it replaces, or Close with
  // FAILED_PRECONDITION (the plan has no such place), ABORTED (the incarnation was replaced).
  std::vector<ClusterEffect> OnHello(ConnectionId connection, const v1::Hello& hello,
                                     absl::Duration now);
  std::vector<ClusterEffect> OnDisconnected(ConnectionId connection, absl::string_view cause,
                                            absl::Duration now);
  std::vector<ClusterEffect> OnChildExited(const v1::ChildExited& exited, absl::Duration now);

  // Ends the process and replaces it. `its_fault` counts the death against it; a learner that is
  // ended because another rank died is not to blame. Reports no Lost: the caller knows.
  std::vector<ClusterEffect> Kill(WorkerId worker, absl::string_view cause, bool its_fault,
                                  absl::Duration now);

  // Proof of progress: its deaths are forgotten.
  void NoteProgress(WorkerId worker);

  // `away`: how long nobody listened since the tick before; no process is late for that.
  std::vector<ClusterEffect> OnTick(absl::Duration now, absl::Duration away = absl::ZeroDuration());

  // No more respawns: ends are expected from now on.
  void BeginShutdown() { shutting_down_ = true; }

  // The worker that fills `connection`, if it is current.
  const WorkerId* WorkerOf(ConnectionId connection) const;
  ConnectionId ConnectionOf(WorkerId worker) const;  // 0: not joined.
  absl::string_view IncarnationOf(WorkerId worker) const;
  int64_t PidOf(WorkerId worker) const;
  int expected() const { return static_cast<int>(places_.size()); }
  int joined() const { return joined_; }
  int deaths() const { return total_deaths_; }
  // Processes that were started and whose end is not known yet (embedded).
  int running() const;

 private:
  enum class State { kAbsent, kSpawning, kJoined, kEnding };
  struct Place {
    State state = State::kAbsent;
    std::string incarnation;
    ConnectionId connection = 0;
    int64_t pid = 0;
    absl::Duration since;  // Of the state.
    bool killed = false;   // kEnding: a kill was sent.
    int deaths = 0;        // In a row.
    std::string cause;     // Why the last one died.
  };

  absl::StatusOr<WorkerId> Assign(const v1::Hello& hello) const;
  absl::StatusOr<WorkerId> AssignByRank(const v1::Hello& hello) const;
  void Spawn(WorkerId worker, Place& place, absl::Duration now, std::vector<ClusterEffect>& out);
  void Detach(Place& place);
  // Counts the death; GiveUp if it was one too many.
  void CountDeath(WorkerId worker, Place& place, absl::string_view cause,
                  std::vector<ClusterEffect>& out);

  const ClusterOptions options_;
  std::map<WorkerId, Place> places_;
  std::map<ConnectionId, WorkerId> connections_;
  bool agent_joined_ = false;
  bool shutting_down_ = false;
  int joined_ = 0;
  int total_deaths_ = 0;
};

// Exit status of a worker whose input is at fault: starting it again does not help.
inline constexpr int kExitBadInput = 2;

// How a child ended, for people: "killed by signal 9", "exit code 1".
std::string DescribeExit(const v1::ChildExited& exited);

}  // namespace retort::driver
