#include "common/gpu/device_list.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"
#include "nlohmann/json.hpp"

namespace retort::gpu {
namespace {

constexpr absl::Duration kLongestAnswer = absl::Minutes(1);
constexpr size_t kMaxAnswerBytes = size_t{1} << 20;
constexpr int kMaxDevices = 4096;
constexpr size_t kMaxLineBytes = 2000;  // Of what is shown of a failure.

struct Child {
  pid_t pid = -1;
  UniqueFd output;  // Its stdout and stderr.
};

absl::StatusOr<Child> Start(const std::string& program) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "make a pipe");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDERR_FILENO);
  char name[] = "retort", command[] = "devices", json[] = "--json";
  char* const argv[] = {name, command, json, nullptr};
  // A group of its own: what a start script has started ends with it.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, program.c_str(), &actions, &attributes, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return ErrnoError(error, absl::StrCat("start ", program));
  return Child{pid, std::move(read_end)};
}

// Everything until the other end is closed.
absl::StatusOr<std::string> ReadToEnd(int fd, absl::Duration end) {
  std::string text;
  char buffer[4096];
  while (text.size() < kMaxAnswerBytes) {
    const absl::Duration left = end - Clock::Real()->Now();
    pollfd wait{fd, POLLIN, 0};
    const int ready = left <= absl::ZeroDuration()
                          ? 0
                          : poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      return absl::DeadlineExceededError(absl::StrCat("retort-worker devices did not end within ",
                                                      absl::FormatDuration(kLongestAnswer)));
    }
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got == 0) return text;
    if (got < 0 && errno != EINTR) return ErrnoError(errno, "read the list of devices");
    if (got > 0) text.append(buffer, static_cast<size_t>(got));
  }
  return absl::InvalidArgumentError("retort-worker devices printed more than 1 MiB");
}

// Libraries may warn before and after: the last line that begins like that, else the last line.
absl::string_view LineOf(absl::string_view text, absl::string_view begin) {
  const std::vector<absl::string_view> lines =
      absl::StrSplit(absl::StripAsciiWhitespace(text), '\n');
  const auto found = std::find_if(lines.rbegin(), lines.rend(), [begin](absl::string_view line) {
    return absl::StartsWith(line, begin);
  });
  return found == lines.rend() ? lines.back() : *found;
}

// The status once the process has ended; killed if it goes on until `end`.
int Reap(pid_t pid, absl::Duration end) {
  int status = 0;
  while (true) {
    const pid_t ended = waitpid(pid, &status, WNOHANG);
    if (ended == pid || (ended < 0 && errno != EINTR)) return status;
    if (Clock::Real()->Now() >= end) kill(-pid, SIGKILL);
    poll(nullptr, 0, 5);
  }
}

std::string HowItEnded(int status) {
  return WIFSIGNALED(status) ? absl::StrCat("was ended by signal ", WTERMSIG(status))
                             : absl::StrCat("ended with status ", WEXITSTATUS(status));
}

bool IsDevice(const Json& item) {
  const bool fits = item.is_object() && item.contains("index") && item.contains("name") &&
                    item.contains("uuid") && item.contains("memory_bytes") &&
                    item["index"].is_number_integer() && item["name"].is_string() &&
                    item["uuid"].is_string() && item["memory_bytes"].is_number_integer();
  return fits && item["index"] >= 0 && item["index"] < kMaxDevices && item["memory_bytes"] >= 0 &&
         item["memory_bytes"] <= std::numeric_limits<int64_t>::max();
}

}  // namespace

std::string DeviceListJson(const std::vector<DeviceInfo>& devices) {
  Json list = Json::array();
  for (const DeviceInfo& device : devices) {
    list.push_back({{"index", device.index},
                    {"name", device.name},
                    {"uuid", device.uuid},
                    {"memory_bytes", device.memory_bytes}});
  }
  return DumpJson(Json{{"devices", std::move(list)}});
}

absl::StatusOr<std::vector<DeviceInfo>> ParseDeviceList(absl::string_view text) {
  RETORT_ASSIGN_OR_RETURN(const Json json, ParseJson(text, "list of devices"));
  const absl::Status wrong =
      absl::InvalidArgumentError(absl::StrCat("\"", Printable(text),
                                              "\" is no list of devices; are retort and "
                                              "retort-worker of one build?"));
  const auto list = json.find("devices");
  if (!json.is_object() || list == json.end() || !list->is_array()) return wrong;
  std::vector<DeviceInfo> devices;
  for (const Json& item : *list) {
    if (!IsDevice(item)) return wrong;
    devices.push_back({.index = item["index"].get<int>(),
                       .name = item["name"].get<std::string>(),
                       .uuid = item["uuid"].get<std::string>(),
                       .memory_bytes = item["memory_bytes"].get<int64_t>()});
  }
  return devices;
}

absl::StatusOr<std::vector<DeviceInfo>> AskForDevices(const std::string& worker_program) {
  if (!FileExists(worker_program)) {
    return absl::NotFoundError(
        absl::StrCat(worker_program, " is missing; it belongs beside retort"));
  }
  RETORT_ASSIGN_OR_RETURN(Child child, Start(worker_program));
  const absl::Duration end = Clock::Real()->Now() + kLongestAnswer;
  const absl::StatusOr<std::string> text = ReadToEnd(child.output.get(), end);
  if (!text.ok()) kill(-child.pid, SIGKILL);
  const int status = Reap(child.pid, end);
  RETORT_RETURN_IF_ERROR(text.status());
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    absl::StatusOr<std::vector<DeviceInfo>> devices = ParseDeviceList(LineOf(*text, "{"));
    return devices.ok() ? std::move(devices)
                        : WithContext(devices.status(), absl::StrCat(worker_program, " devices"));
  }
  absl::string_view line = LineOf(*text, "retort: ");
  absl::ConsumePrefix(&line, "retort: ");
  return absl::FailedPreconditionError(
      line.empty() || WIFSIGNALED(status)
          ? absl::StrCat(worker_program, " devices ", HowItEnded(status))
          : Printable(line, kMaxLineBytes));
}

}  // namespace retort::gpu
