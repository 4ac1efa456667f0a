// One rank of a group, for collective_shm_test and collective_mpi_test: runs the contract cases, or
// one fault, and prints a line for each:
//   PASS <case> <rank>      or      FAIL <case> <rank> <what was wrong>
// Exit status: 0 all passed, 1 a case failed, 2 it could not start.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"
#include "common/collective/collective_contract.h"
#include "common/collective/mpi_collective.h"
#include "common/collective/shm_collective.h"
#include "common/ring/broker_client.h"

ABSL_FLAG(std::string, backend, "shm", "shm or mpi");
ABSL_FLAG(std::string, run, "whole",
          "whole: the cases that leave the group whole; a case; kill; kill_in_buffer");
ABSL_FLAG(int, rank, 0, "shm: this process's rank");
ABSL_FLAG(int, world, 1, "shm: ranks");
ABSL_FLAG(std::string, group, "test", "shm: name of the group");
ABSL_FLAG(std::string, socket, "", "shm: the broker's socket");
ABSL_FLAG(std::string, token, "", "shm: the broker's token");
ABSL_FLAG(std::string, gate, "", "a FIFO: hold reads it, release writes it");
ABSL_FLAG(std::vector<std::string>, members, {}, "mpi: ranks of the group; empty: all");

namespace retort::collective {
namespace {

SharedMemorySource BrokerMemory(const ring::BrokerAddress& broker) {
  SharedMemorySource memory;
  memory.open = [broker](const std::string& name, int64_t bytes,
                         absl::Duration timeout) -> absl::StatusOr<std::shared_ptr<std::byte>> {
    RETORT_ASSIGN_OR_RETURN(
        ring::Segment segment,
        ring::OpenSegment(broker, name, bytes, ring::Access::kReadWrite, timeout));
    return ring::ShareMemory(std::move(segment));
  };
  memory.drop = [broker](const std::string& prefix) {
    return ring::DropSegments(broker, prefix, absl::Seconds(5));
  };
  return memory;
}

// Makes groups, one after the other; each of a new generation.
class Groups {
 public:
  explicit Groups(MpiRuntime* mpi) : mpi_(mpi) {}

  absl::StatusOr<std::unique_ptr<Collective>> Next(absl::Duration deadline, int world_size = -1) {
    ++generation_;
    const CollectiveOptions options{.deadline = deadline};
    if (mpi_ != nullptr) return mpi_->MakeCollective(Members(), generation_, options);
    const ShmGroup group{.name = absl::StrCat(absl::GetFlag(FLAGS_group), "/g", generation_),
                         .rank = absl::GetFlag(FLAGS_rank),
                         .world_size = world_size > 0 ? world_size : absl::GetFlag(FLAGS_world),
                         .options = options};
    return MakeShmCollective(
        group, BrokerMemory({absl::GetFlag(FLAGS_socket), absl::GetFlag(FLAGS_token)}));
  }

  std::vector<int> Members() const {
    std::vector<int> members;
    for (const std::string& m : absl::GetFlag(FLAGS_members)) members.push_back(std::stoi(m));
    for (int r = 0; absl::GetFlag(FLAGS_members).empty() && r < mpi_->place().world_size; ++r) {
      members.push_back(r);
    }
    return members;
  }

 private:
  MpiRuntime* const mpi_;
  int64_t generation_ = 0;
};

bool Report(const std::string& name, int rank, const std::string& wrong) {
  std::printf("%s %s %d %s\n", wrong.empty() ? "PASS" : "FAIL", name.c_str(), rank, wrong.c_str());
  std::fflush(stdout);
  return wrong.empty();
}

ContractWorld GateWorld() {
  const std::string path = absl::GetFlag(FLAGS_gate);
  ContractWorld world;
  world.hold = [path] {  // Opens when rank 0 opens it too, ends when rank 0 closes it.
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    char byte;
    while (read(fd.get(), &byte, 1) > 0) {
    }
  };
  world.release = [path] { UniqueFd(open(path.c_str(), O_WRONLY | O_CLOEXEC)); };
  return world;
}

bool RunCase(const ContractCase& contract, Groups& groups) {
  const auto group = groups.Next(contract.deadline);
  if (!group.ok()) return Report(contract.name, -1, group.status().ToString());
  if ((*group)->world_size() < contract.min_world_size) {
    return Report(contract.name, (*group)->rank(), "");
  }
  const std::string wrong = contract.body(**group, GateWorld());
  const bool passed = Report(contract.name, (*group)->rank(), wrong);
  // Who leaves while others work breaks the group for them.
  return ((*group)->Barrier().ok() || contract.breaks_group) && passed;
}

// The last rank dies between the barriers of an all-reduce; the others must hear of it, and go on
// without it.
bool RunKill(Groups& groups, bool in_buffer) {
  const absl::StatusOr<std::unique_ptr<Collective>> group = groups.Next(absl::Minutes(5));
  if (!group.ok()) return Report("kill", -1, group.status().ToString());
  const int last = (*group)->world_size() - 1;
  at::Tensor tensor = at::ones({1 << 20});
  if (in_buffer) tensor = (*group)->AllocateBuffer(1 << 20).value();
  if ((*group)->rank() == last && !ArmFailpoints({"collective.reduce=kill@3"}).ok()) return false;
  absl::Status status;
  for (int i = 0; i < 10 && status.ok(); ++i) status = (*group)->AllReduceSum(tensor);
  const std::string want = absl::StrCat("all_reduce #", in_buffer ? 4 : 1, ": rank ", last);
  const bool told = absl::IsUnavailable(status) && absl::StrContains(status.message(), want) &&
                    absl::StrContains(status.message(), "died");
  if (!Report("kill", (*group)->rank(), told ? "" : status.ToString())) return false;
  const auto survivors = groups.Next(absl::Seconds(30), last);
  if (!survivors.ok()) return Report("second", -1, survivors.status().ToString());
  const at::Tensor ones = at::ones({1 << 20});
  const absl::Status sum = (*survivors)->AllReduceSum(ones);
  const bool right = sum.ok() && ones.eq(last).all().item<bool>();
  return Report("second", (*group)->rank(), right ? "" : sum.ToString());
}

int RunAll(Groups& groups) {
  const std::string run = absl::GetFlag(FLAGS_run);
  if (run == "kill" || run == "kill_in_buffer") return RunKill(groups, run != "kill") ? 0 : 1;
  bool passed = true;
  for (const ContractCase& contract : ContractCases()) {
    if (contract.breaks_group != (run == "breaking")) continue;
    passed = RunCase(contract, groups) && passed;
  }
  return passed ? 0 : 1;
}

int Main() {
  if (absl::GetFlag(FLAGS_backend) == "shm") {
    Groups groups(nullptr);
    return RunAll(groups);
  }
  const auto mpi = MpiRuntime::Start();
  if (!mpi.ok()) {
    std::fprintf(stderr, "%s\n", mpi.status().ToString().c_str());
    return 2;
  }
  const std::vector<int> members = Groups(mpi->get()).Members();
  const bool is_member =
      std::find(members.begin(), members.end(), (*mpi)->place().rank) != members.end();
  int result = 0;
  if (is_member) {
    Groups groups(mpi->get());
    result = RunAll(groups);
    // mpirun ends the others as soon as one fails: they speak first. This too is a new generation.
    const auto last = groups.Next(absl::Seconds(60));
    if (!last.ok() || !(*last)->Barrier().ok()) result = 1;
  }
  const absl::Status finished = (*mpi)->Finish();
  std::printf("FINISH %d %s\n", (*mpi)->place().rank, finished.ToString().c_str());
  std::fflush(stdout);
  return result != 0 ? result : (finished.ok() ? 0 : 1);
}

}  // namespace
}  // namespace retort::collective

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return retort::collective::Main();
}
