// Requests that wait to be served, a line for each client. Clients take turns, so that one who
// sends a thousand requests does not hold up one who sends a single one. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <list>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace retort::worker {

struct WaitingLineLimits {
  int64_t requests = 256;
  int64_t bytes = 64 << 20;
};

// Not thread-safe. Invariant: turns_ holds every client with a request, once.
template <typename Request>
class WaitingLine {
 public:
  explicit WaitingLine(const WaitingLineLimits& limits) : limits_(limits) {}

  // `id` must not be in the line. RESOURCE_EXHAUSTED: it is full.
  absl::Status Add(const std::string& client, uint64_t id, int64_t bytes, Request request) {
    if (full(bytes)) {
      return absl::ResourceExhaustedError(
          absl::StrCat(size(), " requests of ", bytes_, " bytes wait already; try again later"));
    }
    std::deque<Entry>& line = lines_[client];
    if (line.empty()) turns_.push_back(client);
    line.push_back({id, bytes, std::move(request)});
    client_of_[id] = client;
    bytes_ += bytes;
    return absl::OkStatus();
  }

  // Whether Add would refuse a request of so many bytes.
  bool full(int64_t bytes) const {
    return size() >= limits_.requests || bytes_ + bytes > limits_.bytes;
  }
  bool empty() const { return client_of_.empty(); }
  int64_t size() const { return static_cast<int64_t>(client_of_.size()); }

  // The oldest request of the client whose turn it is. Not empty.
  const Request& Front() const { return lines_.at(turns_.front()).front().request; }
  // Takes it; the turn goes to the next client.
  Request Pop() {
    const std::string client = std::move(turns_.front());
    turns_.pop_front();
    std::deque<Entry>& line = lines_.at(client);
    Entry entry = std::move(line.front());
    line.pop_front();
    Forget(entry);
    if (line.empty()) {
      lines_.erase(client);
    } else {
      turns_.push_back(client);
    }
    return std::move(entry.request);
  }

  // False: it is not in the line.
  bool Remove(uint64_t id) {
    const auto found = client_of_.find(id);
    if (found == client_of_.end()) return false;
    const std::string client = found->second;
    std::deque<Entry>& line = lines_.at(client);
    const auto at =
        std::find_if(line.begin(), line.end(), [id](const Entry& entry) { return entry.id == id; });
    Forget(*at);
    line.erase(at);
    if (line.empty()) {
      lines_.erase(client);
      turns_.remove(client);
    }
    return true;
  }

 private:
  struct Entry {
    uint64_t id;
    int64_t bytes;
    Request request;
  };

  void Forget(const Entry& entry) {
    bytes_ -= entry.bytes;
    client_of_.erase(entry.id);
  }

  const WaitingLineLimits limits_;
  absl::flat_hash_map<std::string, std::deque<Entry>> lines_;
  absl::flat_hash_map<uint64_t, std::string> client_of_;
  std::list<std::string> turns_;  // The front is next.
  int64_t bytes_ = 0;
};

}  // namespace retort::worker
