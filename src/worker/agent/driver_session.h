// What every worker except the agent shares: the stream to the driver, the artifacts it holds and
// serves, the queue of commands, and an orderly end. A role gets a DriverSession& and contains no
// RPC code.
//
//   auto session = DriverSession::Connect(options);
//   ... read files, load models;
//   session->Ready();
//   while (true) {
//     auto command = (*session)->NextCommand();          // StatusOr<optional<DriverMessage>>
//     if (!command.ok() || !command->has_value()) break;  // lost, or asked to stop
//     ... act; between units of work: if (session->stopping()) abandon;
//     session->ReportProgress(fence, units);
//   }
//   return session->Finish(status);
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/artifact/artifact_store.h"
#include "common/base/clock.h"
#include "common/rpc/access_token.h"
#include "common/rpc/artifact_bytes.h"
#include "common/rpc/endpoint.h"
#include "retort/v1/control.pb.h"

namespace retort::worker {

struct DriverSessionOptions {
  std::string driver_address;
  rpc::AccessToken token;
  rpc::TlsFiles tls = {};
  std::string incarnation;               // 32 hex digits.
  v1::Role role = v1::ROLE_UNSPECIFIED;  // UNSPECIFIED: the driver gives one; mpi_rank is set then.
  int32_t index = 0;
  std::optional<int32_t> mpi_rank = {};
  std::optional<int32_t> mpi_world_size = {};
  std::string artifact_listen = {};  // Empty: a free port of the driver's loopback address.
  std::string host_identity = {};    // Empty: ring::OwnHostIdentity.
  absl::Duration welcome_deadline =
      absl::Seconds(60);  // mpirun may start workers before the driver listens.
  Clock* clock = Clock::Real();
};

// Thread-safe, except that NextCommand and Finish belong to the role's main thread.
class DriverSession {
 public:
  // Serves artifacts, dials the driver, says Hello, waits for Welcome. Errors:
  // AttachClient::Connect's, those of the host identity, and INVALID_ARGUMENT or
  // FAILED_PRECONDITION for addresses (off loopback needs `artifact_listen` and TLS); also
  // INVALID_ARGUMENT if the driver refuses this process for good.
  static absl::StatusOr<std::unique_ptr<DriverSession>> Connect(
      const DriverSessionOptions& options);
  ~DriverSession();

  const v1::Welcome& welcome() const;

  // What this worker's Hello says: processes with the same one share memory.
  const std::string& host_identity() const;

  // Tells the driver that this worker takes commands. Errors as Send.
  absl::Status Ready();

  // The next command for the role, in the order sent; the driver hears that the calling thread
  // computes on it until it asks for another one. Waits without limit (keepalive finds a dead
  // driver). ReleaseArtifacts never comes out: it is carried out on arrival. nullopt: Shutdown or
  // SIGTERM came and everything before it has been returned. Error: the stream is lost.
  absl::StatusOr<std::optional<v1::DriverMessage>> NextCommand();

  // True once Shutdown or SIGTERM came or the stream is lost, though NextCommand has not said so
  // yet. Cheap: long work asks between tokens or micro-batches and gives up.
  bool stopping() const;

  // `hook` is called on an internal thread for each command as it arrives, and with nullptr once
  // when the session stops (at once, here, if it is stopping already); it must not block. The
  // learner aborts its collective from it. Replaces the hook before; an empty function clears it
  // and returns only when no call of the old one is running (so not to be called from the hook).
  void SetArrivalHook(std::function<void(const v1::DriverMessage*)> hook);

  // Never blocks. Errors as AttachClient::Send.
  absl::Status Send(const v1::WorkerMessage& message);

  // Sends Progress at most every 0.5 s; the others are dropped, the next one carries the larger
  // count. For units of work, and for waiting that gets on, such as for bytes of another worker.
  void ReportProgress(const v1::Fence& fence, int64_t units_done);

  // Sends WorkFailed, the message cut to 4 KiB.
  absl::Status ReportFailure(const v1::Fence& fence, const absl::Status& failure);

  // Holds and serves `bytes` until `step` is released; returns the reference that reports carry.
  absl::StatusOr<v1::ArtifactRef> Hold(int64_t step, const std::string& id, std::string bytes);

  // How long a fetch of a lease may take: its worker must have said that the holder does not answer
  // before it is suspected itself.
  static absl::Duration FetchDeadline(int64_t lease_ms) { return absl::Milliseconds(lease_ms) / 2; }

  // rpc::FetchArtifact, or the own store when this worker holds it. Blocks for at most `deadline`.
  absl::StatusOr<std::string> Fetch(const v1::ArtifactRef& ref, absl::Duration deadline);

  // rpc::StreamArtifact.
  absl::Status Stream(const std::string& address, const std::string& id, absl::Duration deadline,
                      const rpc::ArtifactSink& sink);

  // From now on artifacts whose id begins with `prefix` are looked up by `lookup` instead of among
  // those that are held. Replaces the one before; a stream that it began goes on. Null: none.
  void ServeAlso(const std::string& prefix, rpc::ArtifactLookup lookup);

  // Says goodbye to the driver, ends the artifact server, returns the process's exit status:
  // ExitCodeFor(result). Idempotent.
  int Finish(const absl::Status& result);

 private:
  class Impl;

  explicit DriverSession(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::worker
