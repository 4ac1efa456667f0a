#include "driver/cluster/cluster.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace retort::driver {

Cluster::Cluster(ClusterOptions options) : options_(std::move(options)) {
  const std::pair<v1::Role, int> pools[] = {{v1::ROLE_SCORER, options_.scorers},
                                            {v1::ROLE_ROLLOUT, options_.rollouts},
                                            {v1::ROLE_LEARNER, options_.learners}};
  for (const auto& [role, count] : pools) {
    for (int i = 0; i < count; ++i) places_[WorkerId{role, i}];
  }
}

std::vector<ClusterEffect> Cluster::OnAgentJoined(absl::Duration now) {
  std::vector<ClusterEffect> out;
  agent_joined_ = true;
  for (auto& [worker, place] : places_) {
    if (place.state == State::kAbsent) Spawn(worker, place, now, out);
  }
  return out;
}

std::vector<ClusterEffect> Cluster::OnAgentLost(absl::Duration now) {
  std::vector<ClusterEffect> out;
  agent_joined_ = false;
  for (auto& [worker, place] : places_) {
    if (place.state == State::kJoined) {
      out.push_back(LostEffect{worker, place.incarnation, place.pid, "its agent died"});
    }
    Detach(place);
    place.state = State::kAbsent;
    place.since = now;
  }
  return out;
}

void Cluster::Spawn(WorkerId worker, Place& place, absl::Duration now,
                    std::vector<ClusterEffect>& out) {
  place.state = State::kSpawning;
  place.incarnation = options_.new_incarnation();
  place.pid = 0;
  place.since = now;
  out.push_back(SpawnEffect{worker, place.incarnation});
}

void Cluster::Detach(Place& place) {
  if (place.connection == 0) return;
  connections_.erase(place.connection);
  place.connection = 0;
  --joined_;
}

absl::StatusOr<WorkerId> Cluster::AssignByRank(const v1::Hello& hello) const {
  if (!hello.has_mpi_rank() || !hello.has_mpi_world_size()) {
    return absl::InvalidArgumentError("a worker without --role must run under mpirun");
  }
  if (hello.mpi_world_size() != expected()) {
    return absl::FailedPreconditionError(
        absl::StrCat("mpirun started ", hello.mpi_world_size(), " ranks; the plan needs ",
                     expected(), " (", options_.scorers, " scorer, ", options_.rollouts,
                     " rollout, ", options_.learners, " learner): start mpirun -n ", expected()));
  }
  int rank = hello.mpi_rank();
  if (rank < 0 || rank >= expected()) {
    return absl::InvalidArgumentError(
        absl::StrCat("mpi_rank is ", rank, "; expected 0 .. ", expected() - 1));
  }
  if (rank < options_.scorers) return WorkerId{v1::ROLE_SCORER, rank};
  rank -= options_.scorers;
  if (rank < options_.rollouts) return WorkerId{v1::ROLE_ROLLOUT, rank};
  return WorkerId{v1::ROLE_LEARNER, rank - options_.rollouts};
}

absl::StatusOr<WorkerId> Cluster::Assign(const v1::Hello& hello) const {
  if (hello.build() != options_.build) {
    return absl::FailedPreconditionError(
        absl::StrCat("the worker is ", hello.build(), ", the driver is ", options_.build,
                     "; build both programs again, or run those of one build"));
  }
  if (hello.role() == v1::ROLE_UNSPECIFIED) return AssignByRank(hello);
  const WorkerId worker{hello.role(), hello.index()};
  const auto it = places_.find(worker);
  if (it == places_.end()) {
    return absl::FailedPreconditionError(absl::StrCat("the plan has no ", NameOf(worker)));
  }
  if (options_.external) return worker;
  if (it->second.state != State::kSpawning || it->second.incarnation != hello.incarnation()) {
    return absl::AbortedError(absl::StrCat(NameOf(worker), " was replaced by another process"));
  }
  return worker;
}

std::vector<ClusterEffect> Cluster::OnHello(ConnectionId connection, const v1::Hello& hello,
                                            absl::Duration now) {
  std::vector<ClusterEffect> out;
  const absl::StatusOr<WorkerId> assigned = Assign(hello);
  if (!assigned.ok()) {
    out.push_back(CloseEffect{connection, assigned.status()});
    return out;
  }
  Place& place = places_[*assigned];
  if (place.state == State::kJoined) {  // External: the old process is gone, its socket not yet.
    out.push_back(
        LostEffect{*assigned, place.incarnation, place.pid, "a new process took its place"});
    out.push_back(CloseEffect{place.connection, absl::AbortedError("replaced by a new process")});
    Detach(place);
    CountDeath(*assigned, place, "replaced", out);
  }
  place.state = State::kJoined;
  place.incarnation = hello.incarnation();
  place.connection = connection;
  place.pid = hello.pid();
  place.since = now;
  connections_[connection] = *assigned;
  ++joined_;
  out.push_back(
      JoinedEffect{*assigned,
                   place.incarnation,
                   connection,
                   {hello.artifact_address(), hello.host_identity(), hello.has_mpi_rank()}});
  return out;
}

std::vector<ClusterEffect> Cluster::OnDisconnected(ConnectionId connection, absl::string_view cause,
                                                   absl::Duration now) {
  std::vector<ClusterEffect> out;
  const auto it = connections_.find(connection);
  if (it == connections_.end()) return out;
  const WorkerId worker = it->second;
  Place& place = places_[worker];
  out.push_back(LostEffect{worker, place.incarnation, place.pid, std::string(cause)});
  Detach(place);
  place.since = now;
  if (options_.external) {
    place.state = State::kAbsent;
    CountDeath(worker, place, cause, out);
    return out;
  }
  // The process may live on without a stream: it must be gone before its successor starts.
  place.state = State::kEnding;
  place.killed = false;
  place.cause = std::string(cause);
  return out;
}

std::vector<ClusterEffect> Cluster::OnChildExited(const v1::ChildExited& exited,
                                                  absl::Duration now) {
  std::vector<ClusterEffect> out;
  const absl::StatusOr<WorkerId> worker = WorkerFromName(exited.worker());
  if (!worker.ok()) return out;
  const auto it = places_.find(*worker);
  if (it == places_.end() || it->second.incarnation != exited.incarnation()) return out;
  Place& place = it->second;
  if (place.state == State::kAbsent) return out;
  const std::string cause = DescribeExit(exited);
  const bool blamed = place.state != State::kEnding || !place.cause.empty();
  if (place.state == State::kJoined || place.state == State::kSpawning) {
    out.push_back(LostEffect{*worker, place.incarnation, exited.pid(), cause});
  }
  if (place.state == State::kJoined) {
    out.push_back(CloseEffect{place.connection, absl::AbortedError("the process ended")});
  }
  Detach(place);
  place.state = State::kAbsent;
  place.since = now;
  if (blamed && exited.signal() == 0 && exited.exit_code() == kExitBadInput && !shutting_down_) {
    out.push_back(
        GiveUpEffect{*worker, absl::StrCat(NameOf(*worker), " cannot use its input"), true});
    return out;
  }
  if (blamed) CountDeath(*worker, place, place.cause.empty() ? cause : place.cause, out);
  place.cause.clear();
  const bool gave_up = !out.empty() && std::holds_alternative<GiveUpEffect>(out.back());
  if (agent_joined_ && !shutting_down_ && !gave_up) Spawn(*worker, place, now, out);
  return out;
}

void Cluster::CountDeath(WorkerId worker, Place& place, absl::string_view cause,
                         std::vector<ClusterEffect>& out) {
  if (shutting_down_) return;
  ++total_deaths_;
  if (++place.deaths < options_.max_deaths) return;
  out.push_back(
      GiveUpEffect{worker, absl::StrCat(NameOf(worker), " died ", place.deaths,
                                        " times without any progress in between, last: ", cause)});
}

std::vector<ClusterEffect> Cluster::Kill(WorkerId worker, absl::string_view cause, bool its_fault,
                                         absl::Duration now) {
  std::vector<ClusterEffect> out;
  const auto it = places_.find(worker);
  if (it == places_.end()) return out;
  Place& place = it->second;
  if (place.state != State::kJoined && place.state != State::kSpawning) return out;
  const ConnectionId connection = place.connection;
  Detach(place);
  place.since = now;
  if (!options_.external) {
    place.state = State::kEnding;
    place.killed = true;
    place.cause = its_fault ? std::string(cause) : "";
    out.push_back(KillEffect{worker, place.incarnation});
  } else {
    place.state = State::kAbsent;
    if (its_fault) CountDeath(worker, place, cause, out);
  }
  if (connection != 0) out.push_back(CloseEffect{connection, absl::AbortedError(cause)});
  return out;
}

void Cluster::NoteProgress(WorkerId worker) {
  const auto it = places_.find(worker);
  if (it != places_.end()) it->second.deaths = 0;
}

std::vector<ClusterEffect> Cluster::OnTick(absl::Duration now, absl::Duration away) {
  std::vector<ClusterEffect> out;
  if (options_.external || shutting_down_) return out;
  for (auto& [worker, place] : places_) {
    place.since = std::min(now, place.since + away);
    if (place.state == State::kSpawning && now - place.since > options_.hello_timeout) {
      place.state = State::kEnding;
      place.since = now;
      place.killed = true;
      place.cause =
          absl::StrCat("did not say hello within ", absl::FormatDuration(options_.hello_timeout));
      out.push_back(KillEffect{worker, place.incarnation});
    } else if (place.state == State::kEnding &&
               now - place.since > (place.killed ? options_.kill_timeout : options_.exit_grace)) {
      place.since = now;
      place.killed = true;
      out.push_back(KillEffect{worker, place.incarnation});
    }
  }
  return out;
}

const WorkerId* Cluster::WorkerOf(ConnectionId connection) const {
  const auto it = connections_.find(connection);
  return it == connections_.end() ? nullptr : &it->second;
}

ConnectionId Cluster::ConnectionOf(WorkerId worker) const {
  const auto it = places_.find(worker);
  return it == places_.end() ? 0 : it->second.connection;
}

absl::string_view Cluster::IncarnationOf(WorkerId worker) const {
  const auto it = places_.find(worker);
  return it == places_.end() ? absl::string_view() : it->second.incarnation;
}

int64_t Cluster::PidOf(WorkerId worker) const {
  const auto it = places_.find(worker);
  return it == places_.end() ? 0 : it->second.pid;
}

int Cluster::running() const {
  int count = 0;
  for (const auto& [worker, place] : places_) count += place.state != State::kAbsent;
  return count;
}

std::string DescribeExit(const v1::ChildExited& exited) {
  if (exited.signal() != 0) return absl::StrCat("killed by signal ", exited.signal());
  return absl::StrCat("exit code ", exited.exit_code());
}

}  // namespace retort::driver
