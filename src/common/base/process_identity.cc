#include "common/base/process_identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/unique_fd.h"

namespace retort {
namespace {

constexpr int kPidBits = 22;
constexpr uint64_t kPidMask = (uint64_t{1} << kPidBits) - 1;

enum class Asked { kAnswered, kNoSuchProcess, kNoAnswer };

struct ProcessStat {
  Asked asked = Asked::kNoAnswer;
  char state = '?';
  uint64_t flags = 0;
  uint64_t start_time = 0;
};

ProcessStat ReadStat(int64_t pid) {
  ProcessStat stat;
  const UniqueFd fd(open(absl::StrCat("/proc/", pid, "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {
    if (errno == ENOENT) stat.asked = Asked::kNoSuchProcess;
    return stat;
  }
  char text[1024];
  const ssize_t got = read(fd.get(), text, sizeof(text));
  if (got < 0 && errno == ESRCH) stat.asked = Asked::kNoSuchProcess;
  if (got <= 0) return stat;
  const absl::string_view line(text, static_cast<size_t>(got));
  // pid (name) state ppid ...: the name may hold anything, so fields count from its last
  // parenthesis.
  const size_t name_end = line.rfind(") ");
  if (name_end == absl::string_view::npos) return stat;
  const std::vector<absl::string_view> fields = absl::StrSplit(line.substr(name_end + 2), ' ');
  constexpr size_t kFlags = 6;  // Field 9 of the line; state is field 3.
  constexpr size_t kStartTime = 19;
  if (fields.size() <= kStartTime || fields[0].empty() ||
      !absl::SimpleAtoi(fields[kFlags], &stat.flags) ||
      !absl::SimpleAtoi(fields[kStartTime], &stat.start_time)) {
    return stat;
  }
  stat.state = fields[0][0];
  stat.asked = Asked::kAnswered;
  return stat;
}

}  // namespace

absl::StatusOr<ProcessIdentity> OwnProcess() {
  const int64_t pid = getpid();
  const ProcessStat stat = ReadStat(pid);
  if (stat.asked != Asked::kAnswered) {
    return absl::InternalError(absl::StrCat(
        "/proc/", pid, "/stat cannot be read; mount /proc to use shared memory between processes"));
  }
  return ProcessIdentity{pid, stat.start_time};
}

bool IsAlive(const ProcessIdentity& process) {
  if (process.pid == 0) return true;
  const ProcessStat stat = ReadStat(process.pid);
  if (stat.asked != Asked::kAnswered) return stat.asked == Asked::kNoAnswer;
  // Compared as packed: an identity that was unpacked from a word lacks the upper bits.
  return PackProcess({process.pid, stat.start_time}) == PackProcess(process) && stat.state != 'Z' &&
         stat.state != 'X';
}

bool IsEnding(const ProcessIdentity& process) {
  if (!IsAlive(process)) return true;
  constexpr uint64_t kExiting = 4;  // PF_EXITING of the kernel.
  return process.pid != 0 && (ReadStat(process.pid).flags & kExiting) != 0;
}

absl::StatusOr<uint64_t> OwnPidNamespace() {
  struct stat info {};
  if (stat("/proc/self/ns/pid", &info) != 0) {
    return absl::InternalError(
        "/proc/self/ns/pid cannot be read; mount /proc to use shared memory between processes");
  }
  return static_cast<uint64_t>(info.st_ino);
}

uint64_t PackProcess(const ProcessIdentity& process) {
  if (process.pid == 0) return 0;
  return (process.start_time << kPidBits) | (static_cast<uint64_t>(process.pid) & kPidMask);
}

ProcessIdentity UnpackProcess(uint64_t word) {
  return {static_cast<int64_t>(word & kPidMask), word >> kPidBits};
}

}  // namespace retort
