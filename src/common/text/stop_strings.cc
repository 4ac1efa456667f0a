#include "common/text/stop_strings.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "common/base/check.h"

namespace retort::text {

StopScanner::StopScanner(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) RETORT_CHECK(!stop.empty()) << "an empty stop string";
}

std::string StopScanner::Push(absl::string_view piece) {
  if (stopped_) return "";
  for (const char byte : piece) {
    held_.push_back(byte);
    size_t longest = 0;
    for (const std::string& stop : stops_) {
      if (absl::EndsWith(held_, stop)) longest = std::max(longest, stop.size());
    }
    if (longest == 0) continue;
    stopped_ = true;
    held_.resize(held_.size() - longest);
    return std::exchange(held_, "");
  }
  const size_t shown = held_.size() - OpenEnd();
  std::string text = held_.substr(0, shown);
  held_.erase(0, shown);
  return text;
}

size_t StopScanner::OpenEnd() const {
  size_t open = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > open; --n) {
      if (absl::EndsWith(held_, absl::string_view(stop).substr(0, n))) open = n;
    }
  }
  return open;
}

std::string StopScanner::Finish() { return std::exchange(held_, ""); }

}  // namespace retort::text
