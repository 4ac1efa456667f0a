// `retort serve`: a model folder as a service.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "common/rpc/endpoint.h"
#include "worker/tools/loaded_model.h"

namespace retort::worker {

struct ServeOptions {
  ModelOptions model;
  std::string listen = "127.0.0.1:8470";  // Port 0: a free one.
  std::string token_file;                 // Made, with mode 0600, if it is not there.
  rpc::TlsFiles tls;
  int64_t max_batch = 64;     // Samples decoded at once.
  int64_t max_wait_ms = 2;    // For requests to gather when the server is idle.
  int64_t max_waiting = 256;  // Requests; more are refused.
  int64_t cache_tokens = 0;   // Of all samples together; 0: max_batch x min(context, 4096).
};

// Serves until SIGINT or SIGTERM; returns the signal. `out` gets a line when it listens.
absl::StatusOr<int> ServeCommand(const ServeOptions& options, std::ostream& out);

}  // namespace retort::worker
