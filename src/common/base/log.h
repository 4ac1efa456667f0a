// Structured log lines on stderr: an event, then key=value ids.
//   LogInfo("re-leased bundle step={} bundle={} attempt={}", step, bundle, attempt);
// INFO is a state change, WARNING handled and counted, ERROR needs a person. No payloads, no
// secrets.
#pragma once

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "spdlog/fmt/fmt.h"

namespace retort {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Call once in main. `process` is put on every line ("rollout-1"); lines go to `file` if it is not
// empty (appended), else to stderr.
void InitLogging(absl::string_view process, LogLevel minimum, const std::string& file = "");

void LogLine(LogLevel level, const std::string& line);

template <typename... Args>
void LogDebug(fmt::format_string<Args...> format, Args&&... args) {
  LogLine(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogInfo(fmt::format_string<Args...> format, Args&&... args) {
  LogLine(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogWarning(fmt::format_string<Args...> format, Args&&... args) {
  LogLine(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogError(fmt::format_string<Args...> format, Args&&... args) {
  LogLine(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace retort
