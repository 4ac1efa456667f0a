#include "testing/fake_gpu.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "testing/fake_gpu_file.h"

namespace retort::gpu {
namespace {

constexpr int64_t kPage = 4096;
static_assert(sizeof(FakeTicket) <= sizeof(MemoryHandle));

uint64_t WordOf(const ProcessIdentity& process) {
  if (process.pid != 0) return PackProcess(process);
  const absl::StatusOr<ProcessIdentity> own = OwnProcess();
  RETORT_CHECK(own.ok()) << own.status().ToString();
  return PackProcess(*own);
}
template <typename Handle>
Handle Encode(const FakeTicket& ticket) {
  Handle handle;
  std::memcpy(handle.bytes.data(), &ticket, sizeof(ticket));
  return handle;
}
template <typename Handle>
FakeTicket Decode(const Handle& handle) {
  FakeTicket ticket;
  std::memcpy(&ticket, handle.bytes.data(), sizeof(ticket));
  return ticket;
}

}  // namespace

struct FakeGpu::Work {
  enum class Kind { kCopy, kZero, kRecord, kWait } kind;
  void* to = nullptr;
  const void* from = nullptr;
  int64_t bytes = 0;
  std::shared_ptr<FakeGpuFile> event;
  uint64_t record = 0;
};

FakeGpu::FakeGpu(FakeGpuOptions options)
    : options_(std::move(options)),
      instance_(FakeRandomWord()),
      process_(WordOf(options_.process)) {
  MutexLock lock(&mutex_);
  streams_[nullptr] = std::make_unique<FakeStream>();
}

FakeGpu::~FakeGpu() {
  MutexLock lock(&mutex_);
  for (const auto& [address, file] : allocated_) file->trailer().nonce.store(0);
  for (const auto& [address, bytes] : pinned_) std::free(address);
}

void FakeGpu::FailCall(Call call, int64_t number, absl::Status status) {
  MutexLock lock(&mutex_);
  faults_[{call, calls_[call] + number}] = std::move(status);
}

int64_t FakeGpu::calls(Call call) const {
  MutexLock lock(&mutex_);
  return calls_.contains(call) ? calls_.at(call) : 0;
}

void FakeGpu::HoldStream(Stream stream) {
  MutexLock lock(&mutex_);
  streams_.at(stream)->held = true;
}
void FakeGpu::ReleaseStream(Stream stream) {
  MutexLock lock(&mutex_);
  streams_.at(stream)->held = false;
  Run();
}
bool FakeGpu::IsIdle(Stream stream) {
  MutexLock lock(&mutex_);
  Run();
  return streams_.at(stream)->queue.empty();
}
MemoryHandle FakeGpu::StaleMemory() {
  return Encode<MemoryHandle>(FakeTicket{FakeRandomWord(), FakeRandomWord(), getpid(), 4096, 0, 0});
}
EventHandle FakeGpu::StaleEvent() {
  return Encode<EventHandle>(FakeTicket{FakeRandomWord(), FakeRandomWord(), getpid(), 1, 0, 1});
}

int64_t FakeGpu::allocations() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(allocated_.size());
}
int64_t FakeGpu::open_memories() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(opened_.size());
}
int64_t FakeGpu::events() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(events_.size());
}
std::vector<std::string> FakeGpu::misuses() const {
  MutexLock lock(&mutex_);
  return misuses_;
}

absl::Status FakeGpu::Enter(Call call) {
  const auto fault = faults_.find({call, ++calls_[call]});
  return fault == faults_.end() ? absl::OkStatus() : fault->second;
}

absl::Status FakeGpu::Misuse(std::string what) {
  misuses_.push_back(what);
  return FakeInvalid(what);
}

absl::StatusOr<FakeGpu::FakeStream*> FakeGpu::Find(Stream stream) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return Misuse("the stream is none of this process");
  return found->second.get();
}

absl::StatusOr<std::shared_ptr<FakeGpuFile>> FakeGpu::FindEvent(Event event) {
  const auto found = events_.find(event);
  if (found == events_.end()) return Misuse("the event is none of this process");
  return found->second;
}

bool FakeGpu::TryRun(const Work& work) {
  switch (work.kind) {
    case Work::Kind::kCopy:
      std::memcpy(work.to, work.from, static_cast<size_t>(work.bytes));
      return true;
    case Work::Kind::kZero:
      std::memset(work.to, 0, static_cast<size_t>(work.bytes));
      return true;
    case Work::Kind::kRecord: {
      std::atomic<uint64_t>& done = work.event->trailer().done;
      done.store(std::max(done.load(), work.record));
      return true;
    }
    case Work::Kind::kWait:
      return work.event->IsDone(work.record);
  }
  return true;
}

// Work that is put into a stream and not done must not lose its memory. Drops it, if it does.
void FakeGpu::CheckNoWork(const FakeGpuFile& file, absl::string_view call) {
  Run();
  for (auto& [key, stream] : streams_) {
    const size_t dropped = std::erase_if(stream->queue, [&](const Work& work) {
      return file.Contains(work.to) || file.Contains(work.from);
    });
    if (dropped != 0) misuses_.push_back(absl::StrCat(call, " of memory that a stream works on"));
  }
}

// As far as the streams get. One stream's record may free another, hence the rounds.
void FakeGpu::Run() {
  for (bool progress = true; progress;) {
    progress = false;
    for (auto& [key, stream] : streams_) {
      while (!stream->held && !stream->queue.empty() && TryRun(stream->queue.front())) {
        stream->queue.pop_front();
        progress = true;
      }
    }
  }
}

absl::Status FakeGpu::Put(Stream stream, Work work) {
  RETORT_ASSIGN_OR_RETURN(FakeStream* const to, Find(stream));
  to->queue.push_back(std::move(work));
  Run();
  return absl::OkStatus();
}

// Device addresses are checked; others are the host's and cannot be.
absl::Status FakeGpu::CheckRange(const void* memory, int64_t bytes) {
  for (const auto* table : {&allocated_, &opened_}) {
    for (const auto& [address, file] : *table) {
      if (!file->Contains(memory)) continue;
      const auto* const at = static_cast<const std::byte*>(memory);
      if (at + bytes <= file->data() + file->bytes()) return absl::OkStatus();
      return Misuse(absl::StrCat("access of ", bytes, " bytes past the end of an allocation of ",
                                 file->bytes()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<DeviceInfo>> FakeGpu::Devices() { return options_.devices; }

absl::Status FakeGpu::SetDevice(int index) {
  if (index >= 0 && index < static_cast<int>(options_.devices.size())) return absl::OkStatus();
  return FakeInvalid(absl::StrCat("no device ", index, " (invalid device ordinal)"));
}

absl::StatusOr<void*> FakeGpu::Allocate(int64_t bytes) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kAllocate));
  if (bytes < 1) return FakeInvalid(absl::StrCat("allocation of ", bytes, " bytes"));
  if (options_.devices.empty()) return absl::InternalError("fake GPU: no device");
  if (bytes > options_.devices[0].memory_bytes - allocated_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("fake GPU: out of memory for ", bytes, " bytes"));
  }
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<FakeGpuFile> file,
                          FakeGpuFile::Create(bytes, /*shared=*/true));
  allocated_[file->data()] = file;
  allocated_bytes_ += bytes;
  return std::memset(file->data(), 0xff, static_cast<size_t>(bytes));  // NaN in every type.
}

absl::Status FakeGpu::Free(void* memory) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kFree));
  if (memory == nullptr) return absl::OkStatus();
  const auto found = allocated_.find(memory);
  if (found == allocated_.end()) return Misuse("Free of what Allocate did not return");
  if (const auto opener = found->second->LivingOpener(); opener.has_value()) {
    misuses_.push_back(absl::StrCat("Free of memory that process ", *opener, " has open"));
  }
  CheckNoWork(*found->second, "Free");
  found->second->trailer().nonce.store(0);
  allocated_bytes_ -= found->second->bytes();
  allocated_.erase(found);
  return absl::OkStatus();
}

absl::StatusOr<void*> FakeGpu::AllocatePinned(int64_t bytes) {
  MutexLock lock(&mutex_);
  if (bytes < 1) return FakeInvalid(absl::StrCat("pinned allocation of ", bytes, " bytes"));
  void* const memory = std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage);
  if (memory == nullptr) return absl::ResourceExhaustedError("fake GPU: no pinned memory");
  pinned_[memory] = bytes;
  return memory;
}

absl::Status FakeGpu::FreePinned(void* memory) {
  MutexLock lock(&mutex_);
  if (memory == nullptr) return absl::OkStatus();
  if (pinned_.erase(memory) == 0) return Misuse("FreePinned of what AllocatePinned did not return");
  std::free(memory);
  return absl::OkStatus();
}

absl::StatusOr<Stream> FakeGpu::CreateStream() {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kCreateStream));
  auto stream = std::make_unique<FakeStream>();
  const Stream key = stream.get();
  streams_[key] = std::move(stream);
  return key;
}

absl::Status FakeGpu::DestroyStream(Stream stream) {
  MutexLock lock(&mutex_);
  Run();
  if (stream == nullptr || streams_.erase(stream) == 0) return Misuse("DestroyStream of no stream");
  return absl::OkStatus();
}

absl::Status FakeGpu::Copy(void* to, const void* from, int64_t bytes, Stream stream) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kCopy));
  RETORT_RETURN_IF_ERROR(CheckRange(to, bytes));
  RETORT_RETURN_IF_ERROR(CheckRange(from, bytes));
  return Put(stream, {Work::Kind::kCopy, to, from, bytes, nullptr, 0});
}

absl::Status FakeGpu::Zero(void* to, int64_t bytes, Stream stream) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kZero));
  RETORT_RETURN_IF_ERROR(CheckRange(to, bytes));
  return Put(stream, {Work::Kind::kZero, to, nullptr, bytes, nullptr, 0});
}

absl::StatusOr<Event> FakeGpu::CreateEvent(bool shared) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kCreateEvent));
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<FakeGpuFile> file, FakeGpuFile::Create(1, shared));
  events_[file.get()] = file;
  return static_cast<Event>(file.get());
}

absl::Status FakeGpu::DestroyEvent(Event event) {
  MutexLock lock(&mutex_);
  Run();
  if (events_.erase(event) == 0) return Misuse("DestroyEvent of no event");
  return absl::OkStatus();
}

absl::Status FakeGpu::Record(Event event, Stream stream) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kRecord));
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<FakeGpuFile> file, FindEvent(event));
  file->trailer().recorder.store(process_);
  // Counted after it has run, if it can: no other process sees work that is only about to run.
  const uint64_t record = file->trailer().recorded.load() + 1;
  const absl::Status status = Put(stream, {Work::Kind::kRecord, nullptr, nullptr, 0, file, record});
  if (status.ok()) file->trailer().recorded.store(record);
  return status;
}

absl::Status FakeGpu::StreamWait(Stream stream, Event event) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kStreamWait));
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<FakeGpuFile> file, FindEvent(event));
  const uint64_t record = file->trailer().recorded.load();
  return Put(stream, {Work::Kind::kWait, nullptr, nullptr, 0, file, record});
}

absl::StatusOr<bool> FakeGpu::IsDone(Event event) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kIsDone));
  Run();
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<FakeGpuFile> file, FindEvent(event));
  return file->IsDone(file->trailer().recorded.load());
}

absl::StatusOr<MemoryHandle> FakeGpu::Export(void* memory) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kExport));
  const auto found = allocated_.find(memory);
  if (found == allocated_.end()) return Misuse("Export of what Allocate did not return");
  return Encode<MemoryHandle>(found->second->ToTicket(instance_, false));
}

absl::StatusOr<void*> FakeGpu::OpenMemory(const MemoryHandle& handle) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kOpenMemory));
  const FakeTicket ticket = Decode(handle);
  if (ticket.is_event) return FakeInvalid("an event's handle is none of memory");
  if (ticket.instance == instance_) {
    return Misuse("a process cannot open its own memory handle (invalid device context)");
  }
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<FakeGpuFile> file, FakeGpuFile::Open(ticket));
  if (!file->AddOpener(process_)) return FakeInvalid("too many processes have the memory open");
  // It was freed between the look at its nonce and now.
  if (file->trailer().nonce.load() != ticket.nonce) return FakeInvalid("the handle is stale");
  opened_[file->data()] = file;
  return static_cast<void*>(file->data());
}

absl::Status FakeGpu::CloseMemory(void* memory) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kCloseMemory));
  const auto found = opened_.find(memory);
  if (found == opened_.end()) return Misuse("CloseMemory of what OpenMemory did not return");
  CheckNoWork(*found->second, "CloseMemory");
  opened_.erase(found);
  return absl::OkStatus();
}

absl::StatusOr<EventHandle> FakeGpu::ExportEvent(Event event) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kExportEvent));
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<FakeGpuFile> file, FindEvent(event));
  if (!file->shared()) return Misuse("ExportEvent of an event that is not shared");
  return Encode<EventHandle>(file->ToTicket(instance_, true));
}

absl::StatusOr<Event> FakeGpu::OpenEvent(const EventHandle& handle) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kOpenEvent));
  const FakeTicket ticket = Decode(handle);
  if (ticket.is_event != 1) return FakeInvalid("the handle is none of an event");
  if (ticket.instance == instance_) {
    return Misuse("a process cannot open its own event handle (invalid device context)");
  }
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<FakeGpuFile> file, FakeGpuFile::Open(ticket));
  events_[file.get()] = file;
  return static_cast<Event>(file.get());
}

absl::StatusOr<bool> FakeGpu::CanRead(int device, const std::string& uuid) {
  MutexLock lock(&mutex_);
  RETORT_RETURN_IF_ERROR(Enter(Call::kCanRead));
  if (device < 0 || device >= static_cast<int>(options_.devices.size())) {
    return FakeInvalid(absl::StrCat("no device ", device, " (invalid device ordinal)"));
  }
  const std::string& own = options_.devices[static_cast<size_t>(device)].uuid;
  if (own == uuid) return true;
  const bool seen = options_.other_devices.contains(uuid) ||
                    std::any_of(options_.devices.begin(), options_.devices.end(),
                                [&](const DeviceInfo& info) { return info.uuid == uuid; });
  if (!seen) {
    return absl::NotFoundError(absl::StrCat("fake GPU: this process does not see device ", uuid));
  }
  return options_.peers.contains({own, uuid});
}

}  // namespace retort::gpu
