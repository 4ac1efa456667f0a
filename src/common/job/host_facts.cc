#include <sched.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "common/base/file.h"
#include "common/gpu/device_list.h"
#include "common/job/plan.h"

namespace retort::job {
namespace {

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

// Of the disk that holds `dir`, or will: its nearest ancestor that is there.
std::optional<int64_t> FreeDiskBytes(const std::string& dir) {
  std::error_code error;
  std::filesystem::path at = std::filesystem::absolute(dir, error);
  while (!std::filesystem::exists(at, error) && at.has_relative_path()) at = at.parent_path();
  struct statvfs info;
  if (statvfs(at.c_str(), &info) != 0) return std::nullopt;
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

int64_t BytesIn(const std::string& dir) {
  int64_t bytes = 0;
  std::error_code error;
  std::filesystem::recursive_directory_iterator at(dir, error);
  for (; !error && at != std::filesystem::recursive_directory_iterator(); at.increment(error)) {
    if (at->is_regular_file(error)) bytes += static_cast<int64_t>(at->file_size(error));
  }
  return bytes;
}

}  // namespace

HostFacts ThisHost(const std::string& output_dir) {
  HostFacts host;
  host.cores = UsableCores();
  host.memory_bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  host.free_disk_bytes = FreeDiskBytes(output_dir);
  host.checkpoint_bytes = BytesIn(output_dir + "/checkpoints");
  host.gpus = [] { return gpu::AskForDevices(ExecutableDirectory() + "/retort-worker"); };
  return host;
}

}  // namespace retort::job
