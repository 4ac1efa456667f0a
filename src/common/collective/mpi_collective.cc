#include "common/collective/mpi_collective.h"

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/collective/message_collective.h"
#include "common/collective/poll_pause.h"

namespace retort::collective {
namespace {

constexpr int kStepTag = 1;
constexpr int kDataTag = 2;
constexpr int kFailureTag = 3;
constexpr int kJoinTag = 1000;     // + generation mod kJoinTags, on MPI_COMM_WORLD.
constexpr int kJoinTags = 16'000;  // The standard promises tags up to 32,767.

struct FailureMessage {
  int32_t code;
  char text[512];
};

absl::Status MpiError(int code, absl::string_view call) {
  if (code == MPI_SUCCESS) return absl::OkStatus();
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  return absl::InternalError(absl::StrCat(call, ": ", text));
}

// Messages under way, with the peer of each.
class Transfers {
 public:
  explicit Transfers(MPI_Comm comm) : comm_(comm) {}

  void Send(const void* data, int64_t bytes, int peer, int tag) {
    MPI_Request request = MPI_REQUEST_NULL;
    Note(MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, peer, tag, comm_, &request));
    Add(request, peer, false);
  }
  void Receive(void* data, int64_t bytes, int peer, int tag) {
    MPI_Request request = MPI_REQUEST_NULL;
    Note(MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, peer, tag, comm_, &request));
    Add(request, peer, true);
  }
  absl::StatusOr<bool> Done() {
    RETORT_RETURN_IF_ERROR(MpiError(error_, "Open MPI send or receive"));
    int done = 0;
    RETORT_RETURN_IF_ERROR(MpiError(MPI_Testall(static_cast<int>(requests_.size()),
                                                requests_.data(), &done, MPI_STATUSES_IGNORE),
                                    "MPI_Testall"));
    return done != 0;
  }
  // After a failure: no message may still arrive in memory that the caller frees. -1: none is open.
  int CancelAll() {
    int peer = -1;
    for (size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i] == MPI_REQUEST_NULL) continue;
      int done = 0;
      if (MPI_Test(&requests_[i], &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done != 0) continue;
      if (peer < 0 || receives_[i]) peer = peers_[i];
      if (receives_[i]) MPI_Cancel(&requests_[i]);
      MPI_Request_free(&requests_[i]);
    }
    requests_.clear();
    return peer;
  }

 private:
  void Note(int code) {
    if (error_ == MPI_SUCCESS) error_ = code;
  }
  void Add(MPI_Request request, int peer, bool receive) {
    requests_.push_back(request);
    peers_.push_back(peer);
    receives_.push_back(receive);
  }

  const MPI_Comm comm_;
  std::vector<MPI_Request> requests_;
  std::vector<int> peers_;
  std::vector<bool> receives_;
  int error_ = MPI_SUCCESS;
};

// Shared by the runtime and its groups.
struct Process {
  Mutex mutex;  // Held for every MPI call.
  std::atomic<bool> group_broke{false};
};

class MpiMessenger final : public Messenger {
 public:
  MpiMessenger(std::shared_ptr<Process> process, MPI_Comm comm, int rank, int world_size,
               const CollectiveOptions& options)
      : process_(std::move(process)),
        comm_(comm),
        rank_(rank),
        world_size_(world_size),
        options_(options) {}
  ~MpiMessenger() override {
    MutexLock lock(&process_->mutex);
    if (failure_.ok()) MPI_Comm_free(&comm_);  // A broken one may still hold messages.
  }

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  absl::Status Exchange(const std::vector<Message>& receives, const std::vector<Message>& sends,
                        Channel channel, const Step& step) override;
  absl::Status Break(const absl::Status& reason) override {
    MutexLock lock(&process_->mutex);
    return BreakLocked(reason);
  }

 private:
  absl::StatusOr<bool> Poll(Transfers& transfers, const Step& step, absl::Duration end)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(process_->mutex);
  void ReceiveFailure() ABSL_EXCLUSIVE_LOCKS_REQUIRED(process_->mutex);
  // Keeps the first failure and tells the peers.
  absl::Status BreakLocked(const absl::Status& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(process_->mutex);

  const std::shared_ptr<Process> process_;
  MPI_Comm comm_;
  const int rank_;
  const int world_size_;
  const CollectiveOptions options_;
  absl::Status failure_ ABSL_GUARDED_BY(process_->mutex);
  FailureMessage sent_failure_{};  // Stays while its messages are under way.
};

absl::Status MpiMessenger::BreakLocked(const absl::Status& reason) {
  if (!failure_.ok()) return failure_;
  failure_ = reason;
  process_->group_broke = true;
  sent_failure_.code = static_cast<int32_t>(reason.code());
  const size_t length = std::min(reason.message().size(), sizeof(sent_failure_.text) - 1);
  std::memcpy(sent_failure_.text, reason.message().data(), length);
  for (int peer = 0; peer < world_size_; ++peer) {
    if (peer == rank_) continue;
    MPI_Request request = MPI_REQUEST_NULL;
    // Small enough to leave at once. A peer that cannot be told finds out at its deadline.
    if (MPI_Isend(&sent_failure_, sizeof(sent_failure_), MPI_BYTE, peer, kFailureTag, comm_,
                  &request) == MPI_SUCCESS) {
      MPI_Request_free(&request);
    }
  }
  return failure_;
}

void MpiMessenger::ReceiveFailure() {
  int waiting = 0;
  MPI_Status status;
  if (MPI_Iprobe(MPI_ANY_SOURCE, kFailureTag, comm_, &waiting, &status) != MPI_SUCCESS ||
      !waiting) {
    return;
  }
  FailureMessage message{};
  if (MPI_Recv(&message, sizeof(message), MPI_BYTE, status.MPI_SOURCE, kFailureTag, comm_,
               MPI_STATUS_IGNORE) != MPI_SUCCESS ||
      !failure_.ok()) {
    return;
  }
  message.text[sizeof(message.text) - 1] = '\0';
  failure_ = absl::Status(static_cast<absl::StatusCode>(message.code), message.text);
  process_->group_broke = true;
}

absl::StatusOr<bool> MpiMessenger::Poll(Transfers& transfers, const Step& step,
                                        absl::Duration end) {
  RETORT_RETURN_IF_ERROR(failure_);
  const absl::StatusOr<bool> done = transfers.Done();
  if (!done.ok()) {
    return BreakLocked(
        WithContext(done.status(), absl::StrCat("rank ", rank_, ", ", Describe(step))));
  }
  if (*done) return true;
  ReceiveFailure();
  RETORT_RETURN_IF_ERROR(failure_);
  if (Clock::Real()->Now() < end) return false;
  const int absent = transfers.CancelAll();
  if (absent < 0) return true;  // It arrived since.
  return BreakLocked(absl::DeadlineExceededError(
      absl::StrCat(Describe(step), ": rank ", absent, " did not arrive within ",
                   absl::FormatDuration(options_.deadline), "; end the processes")));
}

absl::Status MpiMessenger::Exchange(const std::vector<Message>& receives,
                                    const std::vector<Message>& sends, Channel channel,
                                    const Step& step) {
  const int tag = channel == Channel::kStep ? kStepTag : kDataTag;
  const absl::Duration start = Clock::Real()->Now();
  Transfers transfers(comm_);
  {
    MutexLock lock(&process_->mutex);
    RETORT_RETURN_IF_ERROR(failure_);
    for (const Message& m : receives) transfers.Receive(m.data, m.bytes, m.peer, tag);
    for (const Message& m : sends) transfers.Send(m.data, m.bytes, m.peer, tag);
  }
  while (true) {
    {
      // Free between polls, so that Abort can come in.
      MutexLock lock(&process_->mutex);
      const absl::StatusOr<bool> done = Poll(transfers, step, start + options_.deadline);
      if (!done.ok()) transfers.CancelAll();
      if (!done.ok() || *done) return done.status();
    }
    PauseBetweenPolls(Clock::Real()->Now() - start, options_.spin);
  }
}

class Runtime final : public MpiRuntime {
 public:
  explicit Runtime(MpiPlace place) : place_(place), process_(std::make_shared<Process>()) {}

  MpiPlace place() const override { return place_; }
  absl::StatusOr<std::unique_ptr<Collective>> MakeCollective(
      const std::vector<int>& members, int64_t generation,
      const CollectiveOptions& options) override;
  absl::Status Finish() override;

 private:
  // MPI_Comm_create_group waits without limit, so the members meet before it, with one.
  absl::Status Meet(const std::vector<int>& members, int64_t generation,
                    const CollectiveOptions& options);

  const MpiPlace place_;
  const std::shared_ptr<Process> process_;
};

absl::Status Runtime::Meet(const std::vector<int>& members, int64_t generation,
                           const CollectiveOptions& options) {
  const int tag = kJoinTag + static_cast<int>(generation % kJoinTags);
  Transfers transfers(MPI_COMM_WORLD);
  std::vector<int64_t> theirs(members.size(), generation);
  const absl::Duration start = Clock::Real()->Now();
  {
    MutexLock lock(&process_->mutex);
    for (size_t i = 0; i < members.size(); ++i) {
      if (members[i] == place_.rank) continue;
      transfers.Receive(&theirs[i], sizeof(int64_t), members[i], tag);
      transfers.Send(&generation, sizeof(int64_t), members[i], tag);
    }
  }
  while (true) {
    {
      MutexLock lock(&process_->mutex);
      RETORT_ASSIGN_OR_RETURN(const bool done, transfers.Done());
      if (done) return absl::OkStatus();
      if (Clock::Real()->Now() - start > options.join_deadline) {
        process_->group_broke = true;
        return absl::DeadlineExceededError(absl::StrCat(
            "MPI rank ", transfers.CancelAll(), " did not join the group of generation ",
            generation, " within ", absl::FormatDuration(options.join_deadline)));
      }
    }
    PauseBetweenPolls(Clock::Real()->Now() - start, options.spin);
  }
}

absl::StatusOr<std::unique_ptr<Collective>> Runtime::MakeCollective(
    const std::vector<int>& members, int64_t generation, const CollectiveOptions& options) {
  const auto own = std::find(members.begin(), members.end(), place_.rank);
  const bool ascending = std::adjacent_find(members.begin(), members.end(),
                                            std::greater_equal<int>()) == members.end();
  if (own == members.end() || !ascending || members.front() < 0 ||
      members.back() >= place_.world_size || generation < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "MPI group of generation ", generation, ": members must be ascending ranks below ",
        place_.world_size, " and hold rank ", place_.rank));
  }
  RETORT_RETURN_IF_ERROR(Meet(members, generation, options));
  MutexLock lock(&process_->mutex);
  MPI_Group world = MPI_GROUP_NULL;
  MPI_Group group = MPI_GROUP_NULL;
  MPI_Comm comm = MPI_COMM_NULL;
  RETORT_RETURN_IF_ERROR(MpiError(MPI_Comm_group(MPI_COMM_WORLD, &world), "MPI_Comm_group"));
  RETORT_RETURN_IF_ERROR(
      MpiError(MPI_Group_incl(world, static_cast<int>(members.size()), members.data(), &group),
               "MPI_Group_incl"));
  const int tag = static_cast<int>(generation % kJoinTags);
  RETORT_RETURN_IF_ERROR(
      MpiError(MPI_Comm_create_group(MPI_COMM_WORLD, group, tag, &comm), "MPI_Comm_create_group"));
  MPI_Group_free(&group);
  MPI_Group_free(&world);
  MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  return std::make_unique<MessageCollective>(
      std::make_unique<MpiMessenger>(process_, comm, static_cast<int>(own - members.begin()),
                                     static_cast<int>(members.size()), options));
}

absl::Status Runtime::Finish() {
  if (process_->group_broke) {
    return absl::FailedPreconditionError(
        "an MPI group broke, so MPI_Finalize could wait for ever; end the process with an error");
  }
  MutexLock lock(&process_->mutex);
  return MpiError(MPI_Finalize(), "MPI_Finalize");
}

}  // namespace

bool MpiIsBuiltIn() { return true; }

absl::StatusOr<std::unique_ptr<MpiRuntime>> MpiRuntime::Start() {
  if (!MpiPlaceOfProcess()) {
    return absl::FailedPreconditionError(
        "this process was not started by mpirun; use deploy/mpirun.sh, or the shm collective");
  }
  int started = 0;
  MPI_Initialized(&started);
  if (started) return absl::FailedPreconditionError("MPI is already started in this process");
  int provided = MPI_THREAD_SINGLE;
  RETORT_RETURN_IF_ERROR(MpiError(
      MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread"));
  if (provided < MPI_THREAD_SERIALIZED) {
    return absl::FailedPreconditionError("this Open MPI lacks MPI_THREAD_SERIALIZED");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MpiPlace place;
  MPI_Comm_rank(MPI_COMM_WORLD, &place.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &place.world_size);
  return std::make_unique<Runtime>(place);
}

}  // namespace retort::collective
