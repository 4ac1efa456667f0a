#include "common/collective/process_identity.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/unique_fd.h"

namespace retort::collective {
namespace {

struct ProcessStat {
  char state = '?';
  uint64_t start_time = 0;
};

// nullopt: no such process.
std::optional<ProcessStat> ReadStat(int64_t pid) {
  const UniqueFd fd(open(absl::StrCat("/proc/", pid, "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  char text[1024];
  const ssize_t got = read(fd.get(), text, sizeof(text));
  if (got <= 0) return std::nullopt;
  const absl::string_view line(text, static_cast<size_t>(got));
  // pid (name) state ppid ...: the name may hold anything, so fields count from its last
  // parenthesis.
  const size_t name_end = line.rfind(") ");
  if (name_end == absl::string_view::npos) return std::nullopt;
  const std::vector<absl::string_view> fields = absl::StrSplit(line.substr(name_end + 2), ' ');
  constexpr size_t kStartTime = 19;  // Field 22 of the line; state is field 3.
  ProcessStat stat;
  if (fields.size() <= kStartTime || fields[0].empty() ||
      !absl::SimpleAtoi(fields[kStartTime], &stat.start_time)) {
    return std::nullopt;
  }
  stat.state = fields[0][0];
  return stat;
}

}  // namespace

absl::StatusOr<ProcessIdentity> OwnProcess() {
  const int64_t pid = getpid();
  const std::optional<ProcessStat> stat = ReadStat(pid);
  if (!stat) {
    return absl::InternalError(absl::StrCat(
        "/proc/", pid, "/stat cannot be read; mount /proc to use shared memory groups"));
  }
  return ProcessIdentity{pid, stat->start_time};
}

bool IsAlive(const ProcessIdentity& process) {
  if (process.pid == 0) return true;
  const std::optional<ProcessStat> stat = ReadStat(process.pid);
  return stat && stat->start_time == process.start_time && stat->state != 'Z' && stat->state != 'X';
}

}  // namespace retort::collective
