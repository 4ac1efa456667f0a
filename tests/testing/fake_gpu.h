// A GPU run-time without a GPU, for tests of what is built on gpu::Api. One FakeGpu plays the
// run-time of one process, so two of them in one program behave like two processes; handles also
// work between real processes of one user.
//
//   memory    "device memory" is a memfd. A handle names (pid, descriptor, size, nonce); it is opened
//             through /proc/PID/fd, so it fails once the exporter has ended or has freed the
//             memory. The host can read and write it, which no real device memory allows.
//   streams   run at once, unless a test holds them: then what is put into them waits, as on a busy
//             device, and so does what waits for their events, in other processes too.
//   events    count records in a shared page. What a killed process recorded counts as done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/process_identity.h"
#include "common/gpu/gpu_api.h"

namespace retort::gpu {

class FakeGpuFile;  // fake_gpu_file.h

inline constexpr char kFakeUuid[] = "GPU-fake-0";

struct FakeGpuOptions {
  std::vector<DeviceInfo> devices = {{0, "Fake GPU", kFakeUuid, int64_t{1} << 36}};
  // {uuid of a device of this process, uuid that it can read besides its own}.
  std::set<std::pair<std::string, std::string>> peers;
  // Devices that the process sees but has not in `devices`: CanRead answers for them by `peers`.
  std::set<std::string> other_devices;
  ProcessIdentity process;  // Whose run-time this is; pid 0: the calling process.
};

// The calls in which a test can plant a fault.
enum class Call {
  kAllocate,
  kFree,
  kCopy,
  kZero,
  kCreateStream,
  kCreateEvent,
  kRecord,
  kStreamWait,
  kIsDone,
  kExport,
  kOpenMemory,
  kCloseMemory,
  kExportEvent,
  kOpenEvent,
  kCanRead,
};

// Thread-safe. The destructor is the end of the process that it plays: its handles go stale.
class FakeGpu : public Api {
 public:
  explicit FakeGpu(FakeGpuOptions options = {});
  ~FakeGpu() override;

  // The `number`-th (1: the next) call of the kind returns `status` and does nothing.
  void FailCall(Call call, int64_t number, absl::Status status);
  int64_t calls(Call call) const;

  // Nothing that is put into the stream (null: the default one) from now on runs, until Release.
  void HoldStream(Stream stream);
  void ReleaseStream(Stream stream);
  bool IsIdle(Stream stream);  // All that was put into it has run.

  // A handle that fits nothing: what a handle of freed memory looks like.
  static MemoryHandle StaleMemory();
  static EventHandle StaleEvent();

  int64_t allocations() const;    // Allocated and not freed.
  int64_t open_memories() const;  // Opened and not closed.
  int64_t events() const;         // Created or opened, and not destroyed.
  // What a real run-time leaves undefined, in words: memory freed while a living process has it
  // open, an address that is none, a copy past the end. A test expects it to be empty.
  std::vector<std::string> misuses() const;

  std::string torch_device_type() const override { return "privateuseone"; }
  absl::StatusOr<std::vector<DeviceInfo>> Devices() override;
  absl::Status SetDevice(int index) override;
  absl::StatusOr<void*> Allocate(int64_t bytes) override;
  absl::Status Free(void* memory) override;
  absl::StatusOr<void*> AllocatePinned(int64_t bytes) override;
  absl::Status FreePinned(void* memory) override;
  Stream CurrentStream() override { return nullptr; }
  absl::StatusOr<Stream> CreateStream() override;
  absl::Status DestroyStream(Stream stream) override;
  absl::Status Copy(void* to, const void* from, int64_t bytes, Stream stream) override;
  absl::Status Zero(void* to, int64_t bytes, Stream stream) override;
  absl::StatusOr<Event> CreateEvent(bool shared) override;
  absl::Status DestroyEvent(Event event) override;
  absl::Status Record(Event event, Stream stream) override;
  absl::Status StreamWait(Stream stream, Event event) override;
  absl::StatusOr<bool> IsDone(Event event) override;
  absl::StatusOr<MemoryHandle> Export(void* memory) override;
  absl::StatusOr<void*> OpenMemory(const MemoryHandle& handle) override;
  absl::Status CloseMemory(void* memory) override;
  absl::StatusOr<EventHandle> ExportEvent(Event event) override;
  absl::StatusOr<Event> OpenEvent(const EventHandle& handle) override;
  absl::StatusOr<bool> CanRead(int device, const std::string& uuid) override;

 private:
  struct Work;  // One entry of a stream.
  struct FakeStream {
    bool held = false;
    std::deque<Work> queue;
  };

  absl::Status Enter(Call call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<FakeStream*> Find(Stream stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Put(Stream stream, Work work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<FakeGpuFile>> FindEvent(Event event)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckRange(const void* memory, int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CheckNoWork(const FakeGpuFile& file, absl::string_view call)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Misuse(std::string what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static bool TryRun(const Work& work);

  const FakeGpuOptions options_;
  const uint64_t instance_;  // Random: tells the processes that are played apart.
  const uint64_t process_;   // options_.process in one word.
  mutable Mutex mutex_;
  std::map<Call, int64_t> calls_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<Call, int64_t>, absl::Status> faults_ ABSL_GUARDED_BY(mutex_);
  std::map<void*, std::shared_ptr<FakeGpuFile>> allocated_ ABSL_GUARDED_BY(mutex_);
  std::map<void*, std::shared_ptr<FakeGpuFile>> opened_ ABSL_GUARDED_BY(mutex_);
  std::map<void*, std::shared_ptr<FakeGpuFile>> events_ ABSL_GUARDED_BY(mutex_);
  std::map<void*, int64_t> pinned_ ABSL_GUARDED_BY(mutex_);
  std::map<Stream, std::unique_ptr<FakeStream>> streams_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> misuses_ ABSL_GUARDED_BY(mutex_);
  int64_t allocated_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace retort::gpu
