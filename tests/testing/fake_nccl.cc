#include "testing/fake_nccl.h"

#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace retort::gpu {
namespace {

enum class Kind { kReduce, kGather, kBroadcast };

constexpr int kPollsToJoin = 2;  // That say "under way", after the last rank came.
constexpr int kPollsToTake = 2;

int64_t BytesOf(NcclType type) {
  switch (type) {
    case NcclType::kByte:
      return 1;
    case NcclType::kBFloat16:
      return 2;
    case NcclType::kFloat32:
      return 4;
    case NcclType::kInt64:
    case NcclType::kFloat64:
      return 8;
  }
  return 1;
}

template <typename T>
std::vector<char> SumOf(const std::vector<const void*>& sends, int64_t count) {
  std::vector<char> bytes(count * sizeof(T));
  std::memcpy(bytes.data(), sends[0], bytes.size());
  auto* const sum = reinterpret_cast<T*>(bytes.data());
  for (size_t r = 1; r < sends.size(); ++r) {
    const T* const x = static_cast<const T*>(sends[r]);
    for (int64_t i = 0; i < count; ++i) sum[i] = static_cast<T>(sum[i] + x[i]);
  }
  return bytes;
}

std::vector<char> Sum(NcclType type, const std::vector<const void*>& sends, int64_t count) {
  switch (type) {
    case NcclType::kFloat32:
      return SumOf<float>(sends, count);
    case NcclType::kFloat64:
      return SumOf<double>(sends, count);
    case NcclType::kInt64:
      return SumOf<int64_t>(sends, count);
    default:
      break;
  }
  RETORT_CHECK(false) << "the fake sums no such type";
  return {};
}

absl::Status NcclError(absl::string_view what) {
  return absl::InternalError(absl::StrCat("unhandled system error: ", what));
}

}  // namespace

struct FakeNcclNetwork::Part {
  Kind kind;
  NcclType type;
  int64_t count;
  int root;
  const void* send;
  void* receive;
  Stream stream;
  // In the stream: `begun` is recorded before the operation, and the stream then waits for `end`,
  // which is recorded in a stream of its own that is held until the operation has run.
  Event begun = nullptr, end = nullptr;
  Stream end_stream = nullptr;

  int64_t bytes() const { return count * BytesOf(type); }
  bool Fits(const Part& other) const {
    return kind == other.kind && type == other.type && count == other.count && root == other.root;
  }
};

struct FakeNcclNetwork::Comm {
  std::shared_ptr<Group> group;
  int rank = 0;
  FakeGpu* gpu = nullptr;
  int64_t operations = 0;       // Called so far.
  std::optional<Part> untaken;  // Not yet in the stream.
  int polls_left = kPollsToJoin;
  absl::Status error;
  std::map<int64_t, Part> parts;  // In the stream, by number.
};

struct FakeNcclNetwork::Group {
  int world_size = 0;
  std::map<int, std::shared_ptr<Comm>> ranks;  // Those that are in it.
  std::set<int> joined;                        // Those that ever were.
  int64_t next = 1;                            // The operation that runs next.
  bool stuck = false;                          // The ranks called different things.

  bool formed() const { return static_cast<int>(joined.size()) == world_size; }
};

void FakeNcclNetwork::HangOperation(int64_t number) {
  MutexLock lock(&mutex_);
  hanging_.insert(number);
}
void FakeNcclNetwork::HangNothing() {
  MutexLock lock(&mutex_);
  hanging_.clear();
}
void FakeNcclNetwork::EndMismatches() {
  MutexLock lock(&mutex_);
  mismatches_end_ = true;
}
int64_t FakeNcclNetwork::ended_operations() const {
  MutexLock lock(&mutex_);
  return ended_;
}
std::vector<std::string> FakeNcclNetwork::misuses() const {
  MutexLock lock(&mutex_);
  return misuses_;
}

void FakeNcclNetwork::Put(Comm& comm) {
  Part part = *std::exchange(comm.untaken, std::nullopt);
  FakeGpu& gpu = *comm.gpu;
  part.begun = gpu.CreateEvent(false).value();
  part.end = gpu.CreateEvent(false).value();
  part.end_stream = gpu.CreateStream().value();
  gpu.HoldStream(part.end_stream);
  const bool put = gpu.Record(part.end, part.end_stream).ok() &&
                   gpu.Record(part.begun, part.stream).ok() &&
                   gpu.StreamWait(part.stream, part.end).ok();
  if (!put) Note("an operation in no stream of its process");
  comm.parts[comm.operations] = part;
}

bool FakeNcclNetwork::RunOperation(Group& group, int64_t number) {
  if (group.stuck || hanging_.contains(number)) return false;
  std::vector<Part*> parts;
  for (auto& [rank, comm] : group.ranks) {
    const auto found = comm->parts.find(number);
    if (found == comm->parts.end() || !comm->gpu->IsDone(found->second.begun).value()) return false;
    parts.push_back(&found->second);
  }
  if (static_cast<int>(parts.size()) != group.world_size) return false;
  std::vector<const void*> sends;
  bool fit = true;
  for (const Part* part : parts) {
    fit = fit && part->Fits(*parts[0]);
    sends.push_back(part->send);
  }
  if (!fit && mismatches_end_) return true;
  if (!fit) {
    group.stuck = true;
    Note(absl::StrCat("the ranks differ in operation ", number));
    return false;
  }
  std::vector<char> result;
  if (parts[0]->kind == Kind::kReduce) {
    result = Sum(parts[0]->type, sends, parts[0]->count);
  } else {
    for (size_t r = 0; r < parts.size(); ++r) {
      const auto* const bytes = static_cast<const char*>(sends[r]);
      const bool wanted = parts[0]->kind == Kind::kGather || static_cast<int>(r) == parts[0]->root;
      if (wanted) result.insert(result.end(), bytes, bytes + parts[0]->bytes());
    }
  }
  for (Part* part : parts) std::memcpy(part->receive, result.data(), result.size());
  return true;
}

void FakeNcclNetwork::Advance(Group& group) {
  while (RunOperation(group, group.next)) {
    for (auto& [rank, comm] : group.ranks) {
      const Part& part = comm->parts.at(group.next);
      comm->gpu->ReleaseStream(part.end_stream);
      RETORT_CHECK(comm->gpu->DestroyStream(part.end_stream).ok());
      RETORT_CHECK(comm->gpu->DestroyEvent(part.begun).ok());
      RETORT_CHECK(comm->gpu->DestroyEvent(part.end).ok());
      comm->parts.erase(group.next);
    }
    ++group.next;
    ++ended_;
  }
}

// What the rank has under way ends without having run.
void FakeNcclNetwork::Leave(Comm& comm) {
  for (const auto& [number, part] : comm.parts) {
    comm.gpu->ReleaseStream(part.end_stream);
    RETORT_CHECK(comm.gpu->DestroyStream(part.end_stream).ok());
    RETORT_CHECK(comm.gpu->DestroyEvent(part.begun).ok());
    RETORT_CHECK(comm.gpu->DestroyEvent(part.end).ok());
  }
  comm.parts.clear();
  comm.group->ranks.erase(comm.rank);
}

FakeNccl::~FakeNccl() {
  MutexLock lock(&network_.mutex_);
  for (auto& [handle, comm] : comms_) network_.Leave(*comm);
}

void FakeNccl::RefuseAt(int64_t number, absl::Status error) {
  MutexLock lock(&network_.mutex_);
  refusals_[number] = std::move(error);
}
void FakeNccl::ReportAt(int64_t number, absl::Status error) {
  MutexLock lock(&network_.mutex_);
  reports_[number] = std::move(error);
}
void FakeNccl::HangEnds() {
  MutexLock lock(&network_.mutex_);
  ends_hang_ = true;
}
void FakeNccl::ReleaseEnds() {
  MutexLock lock(&network_.mutex_);
  ends_hang_ = false;
  released_.NotifyAll();
}
void FakeNccl::AwaitRelease() {
  MutexLock lock(&network_.mutex_);
  while (ends_hang_) released_.Wait(&network_.mutex_);
}

absl::StatusOr<NcclId> FakeNccl::MakeId() {
  MutexLock lock(&network_.mutex_);
  const int64_t number = ++network_.ids_;
  network_.groups_[number] = std::make_shared<FakeNcclNetwork::Group>();
  NcclId id;
  std::memcpy(id.bytes.data(), &number, sizeof(number));
  id.bytes.back() = 'n';
  return id;
}

absl::StatusOr<NcclComm> FakeNccl::Init(const NcclId& id, int rank, int world_size) {
  MutexLock lock(&network_.mutex_);
  int64_t number = 0;
  std::memcpy(&number, id.bytes.data(), sizeof(number));
  const auto found = network_.groups_.find(number);
  if (found == network_.groups_.end() || id.bytes.back() != 'n') {
    return NcclError("connection refused: nobody waits at this id");
  }
  const std::shared_ptr<FakeNcclNetwork::Group>& group = found->second;
  if (group->world_size != 0 && group->world_size != world_size) {
    return NcclError("the ranks expect different worlds");
  }
  if (!group->joined.insert(rank).second) return NcclError("connection refused: a stale id");
  group->world_size = world_size;
  auto comm = std::make_shared<Comm>();
  comm->group = group;
  comm->rank = rank;
  comm->gpu = &gpu_;
  group->ranks[rank] = comm;
  comms_[comm.get()] = comm;
  return static_cast<NcclComm>(comm.get());
}

absl::StatusOr<std::shared_ptr<FakeNccl::Comm>> FakeNccl::Find(NcclComm comm) {
  const auto found = comms_.find(comm);
  if (found != comms_.end()) return found->second;
  network_.Note("a call on a communicator that is gone");
  return absl::InvalidArgumentError("no such communicator");
}

absl::StatusOr<bool> FakeNccl::Poll(NcclComm handle) {
  MutexLock lock(&network_.mutex_);
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<Comm> comm, Find(handle));
  network_.Advance(*comm->group);
  RETORT_RETURN_IF_ERROR(comm->error);
  if (!comm->group->formed() || --comm->polls_left >= 0) return false;
  comm->polls_left = 0;
  if (comm->untaken.has_value()) network_.Put(*comm);
  network_.Advance(*comm->group);
  return true;
}

absl::Status FakeNccl::Call(NcclComm handle, Part part) {
  MutexLock lock(&network_.mutex_);
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<Comm> comm, Find(handle));
  if (!comm->group->formed() || comm->polls_left > 0 || comm->untaken.has_value()) {
    network_.Note("a call before Poll said that nothing is under way");
  }
  const int64_t number = ++comm->operations;
  if (const auto refusal = refusals_.find(number); refusal != refusals_.end()) {
    return refusal->second;
  }
  if (const auto report = reports_.find(number); report != reports_.end()) {
    comm->error = report->second;
  }
  comm->untaken = part;
  comm->polls_left = kPollsToTake;
  return absl::OkStatus();
}

absl::Status FakeNccl::AllReduceSum(const void* send, void* receive, int64_t count, NcclType type,
                                    NcclComm comm, Stream stream) {
  return Call(comm, {Kind::kReduce, type, count, 0, send, receive, stream});
}

absl::Status FakeNccl::AllGather(const void* send, void* receive, int64_t count, NcclType type,
                                 NcclComm comm, Stream stream) {
  return Call(comm, {Kind::kGather, type, count, 0, send, receive, stream});
}

absl::Status FakeNccl::Broadcast(void* buffer, int64_t count, NcclType type, int root,
                                 NcclComm comm, Stream stream) {
  return Call(comm, {Kind::kBroadcast, type, count, root, buffer, buffer, stream});
}

absl::Status FakeNccl::Abort(NcclComm handle) {
  AwaitRelease();
  MutexLock lock(&network_.mutex_);
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<Comm> comm, Find(handle));
  network_.Leave(*comm);
  comms_.erase(handle);
  ++aborted_;
  return absl::OkStatus();
}

absl::Status FakeNccl::Destroy(NcclComm handle) {
  AwaitRelease();
  MutexLock lock(&network_.mutex_);
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<Comm> comm, Find(handle));
  if (!comm->parts.empty() || comm->untaken.has_value()) {
    network_.Note("Destroy of a communicator with something under way");
  }
  network_.Leave(*comm);
  comms_.erase(handle);
  ++destroyed_;
  return absl::OkStatus();
}

}  // namespace retort::gpu
