// The two ends of an artifact's stream, without gRPC: what a holder sends and what a consumer
// takes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace retort::rpc {

// Bytes of a known size that are read while they are sent, so that what lies in shared memory needs
// no copy.
struct ServedArtifact {
  ServedArtifact() = default;
  // Bytes at rest.
  ServedArtifact(std::shared_ptr<const std::string> held);  // NOLINT: a lookup returns either.

  int64_t bytes = 0;
  // Fills `out` with the bytes from `offset` on. Called on the server's thread, in ascending order,
  // so quick; keeps alive what it reads. An error ends the call with that status.
  std::function<absl::Status(int64_t offset, absl::Span<char> out)> read;
};

// Called on the server's thread, so thread-safe and quick. NOT_FOUND: not held here.
using ArtifactLookup = std::function<absl::StatusOr<ServedArtifact>(const std::string& id)>;

// Takes a stream in order. An error of either ends the call with that status.
struct ArtifactSink {
  // What the holder announces, before the first `data`.
  std::function<absl::Status(int64_t total_bytes)> begin;
  // The next bytes, at most 1 MiB; never more than announced.
  std::function<absl::Status(absl::string_view bytes)> data;
};

}  // namespace retort::rpc
