#include "common/rpc/artifact_service.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/rpc/authenticate.h"
#include "common/rpc/grpc_status.h"
#include "grpcpp/support/server_callback.h"
#include "retort/v1/artifact.grpc.pb.h"

namespace retort::rpc {
namespace {

constexpr size_t kMaxIdBytes = 128;
constexpr std::chrono::hours kLongestCall(1);

using Bytes = std::shared_ptr<const std::string>;
using FetchReactor = grpc::ServerWriteReactor<v1::FetchChunk>;

// Answers with an error and nothing else.
class Refusal : public FetchReactor {
 public:
  explicit Refusal(const absl::Status& status) { Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

// One write is in flight from the start to Finish, so a cancelled call always comes back to
// OnWriteDone.
class Stream : public FetchReactor {
 public:
  // `open` counts the streams of the service; this one is in it already.
  Stream(Bytes bytes, std::atomic<int>* open) : bytes_(std::move(bytes)), open_(open) {
    MutexLock lock(&mutex_);
    chunk_.set_total_bytes(static_cast<int64_t>(bytes_->size()));
    WriteNext();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mutex_);
    if (!ok) {
      Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the reader is gone"));
    } else if (sent_ == bytes_->size()) {
      Finish(grpc::Status::OK);
    } else {
      chunk_.clear_total_bytes();
      WriteNext();
    }
  }

  void OnDone() override {
    open_->fetch_sub(1);
    delete this;
  }

 private:
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const size_t count = std::min<size_t>(kArtifactChunkBytes, bytes_->size() - sent_);
    chunk_.set_data(bytes_->data() + sent_, count);
    sent_ += count;
    StartWrite(&chunk_);
  }

  const Bytes bytes_;
  std::atomic<int>* const open_;
  Mutex mutex_;  // Reactions run on any thread, one at a time; the lock hands the state from one to
                 // the next.
  size_t sent_ ABSL_GUARDED_BY(mutex_) = 0;
  v1::FetchChunk chunk_ ABSL_GUARDED_BY(mutex_);
};

class ArtifactServiceImpl : public Service, public v1::ArtifactService::CallbackService {
 public:
  ArtifactServiceImpl(const AccessToken& token, ArtifactLookup lookup,
                      const ArtifactServiceOptions& options)
      : verifier_(token), lookup_(std::move(lookup)), options_(options) {}

  grpc::Service* AsGrpc() override { return this; }

  // grpc::Server::Shutdown waits for open streams and cancels them at its deadline, which ends
  // every Stream.
  void EndCalls(absl::Duration) override { ending_ = true; }

  FetchReactor* Fetch(grpc::CallbackServerContext* context,
                      const v1::FetchRequest* request) override {
    absl::StatusOr<Bytes> bytes = Find(*context, *request);
    if (!bytes.ok()) return new Refusal(bytes.status());
    if (open_.fetch_add(1) >= options_.max_streams) {
      open_.fetch_sub(1);
      return new Refusal(absl::ResourceExhaustedError(
          absl::StrCat(options_.max_streams, " artifact streams are open; try again")));
    }
    return new Stream(*std::move(bytes), &open_);
  }

 private:
  absl::StatusOr<Bytes> Find(const grpc::CallbackServerContext& context,
                             const v1::FetchRequest& request) {
    RETORT_RETURN_IF_ERROR(Authenticate(context, verifier_));
    if (ending_) return absl::UnavailableError("this worker is shutting down");
    if (context.deadline() > std::chrono::system_clock::now() + kLongestCall) {
      return absl::InvalidArgumentError("Fetch needs a deadline of at most an hour");
    }
    if (request.artifact_id().empty() || request.artifact_id().size() > kMaxIdBytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "artifact id of ", request.artifact_id().size(), " bytes; expected 1 to ", kMaxIdBytes));
    }
    return lookup_(request.artifact_id());
  }

  const TokenVerifier verifier_;
  const ArtifactLookup lookup_;
  const ArtifactServiceOptions options_;
  std::atomic<bool> ending_{false};
  std::atomic<int> open_{0};
};

}  // namespace

std::unique_ptr<Service> MakeArtifactService(const AccessToken& token, ArtifactLookup lookup,
                                             const ArtifactServiceOptions& options) {
  RETORT_CHECK(lookup != nullptr);
  return std::make_unique<ArtifactServiceImpl>(token, std::move(lookup), options);
}

}  // namespace retort::rpc
