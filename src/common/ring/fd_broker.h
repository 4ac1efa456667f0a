// Hands out shared-memory segments of one host: a thread that owns memfds by name and passes their
// descriptors over an abstract Unix socket. The agent of a host serves it (under mpirun the host's
// first learner), so segments outlive every worker that uses them and are gone, without any
// clean-up, when the server's process ends.
//
// Who may ask: processes of the same user (SO_PEERCRED) that know the run's token. A client that
// dies, hangs or sends garbage costs one bounded connection.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort::ring {

struct FdBrokerOptions {
  std::string socket;       // As in BrokerAddress.
  std::string token;        // Not empty.
  int max_segments = 1024;  // A leak of names shows as an error, not as lost memory.
  int64_t max_segment_bytes = int64_t{1}
                              << 40;  // Memory is taken when touched, so this bounds mistakes only.
};

// Thread-safe. The destructor stops the thread and closes every segment; mappings elsewhere stay
// valid.
class FdBroker {
 public:
  // Errors: ALREADY_EXISTS another broker listens at the name; INVALID_ARGUMENT empty token, bad
  // socket name.
  static absl::StatusOr<std::unique_ptr<FdBroker>> Start(const FdBrokerOptions& options);

  virtual ~FdBroker() = default;

  // Forgets the names that start with `prefix`; returns how many. An empty prefix drops all.
  virtual int Drop(absl::string_view prefix) = 0;
  virtual int segment_count() const = 0;
};

}  // namespace retort::ring
