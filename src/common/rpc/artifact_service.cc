#include "common/rpc/artifact_service.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/rpc/authenticate.h"
#include "common/rpc/completion.h"
#include "common/rpc/grpc_status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/async_stream.h"
#include "retort/v1/artifact.grpc.pb.h"

namespace retort::rpc {
namespace {

constexpr size_t kMaxIdBytes = 128;
constexpr std::chrono::hours kLongestCall(1);

class Stream;

class ArtifactServiceImpl : public Service {
 public:
  ArtifactServiceImpl(const AccessToken& token, ArtifactLookup lookup,
                      const ArtifactServiceOptions& options)
      : verifier_(token), lookup_(std::move(lookup)), options_(options) {}

  grpc::Service* AsGrpc() override { return &service_; }
  void Accept(grpc::ServerCompletionQueue* queue) override;
  OpenCalls& calls() override { return calls_; }

 private:
  friend class Stream;

  // What the call is to send, or why it is refused.
  absl::StatusOr<ServedArtifact> Find(const grpc::ServerContext& context,
                                      const v1::FetchRequest& request) {
    RETORT_RETURN_IF_ERROR(Authenticate(context, verifier_));
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
  v1::ArtifactService::AsyncService service_;
  OpenCalls calls_;
};

// One Fetch, waiting for a caller, then sending. Exactly one operation is in flight at any time, so
// a cancelled call always comes back here. Used by the queue's thread only, but for Abandon.
// Deletes itself.
class Stream : public OpenCall {
 public:
  Stream(ArtifactServiceImpl* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue) {
    service_->service_.RequestFetch(&context_, &request_, &writer_, queue, queue, &accepted_);
  }

  void BeginEnd() override {}  // It is finite; gRPC cancels it after the grace.
  void Abandon() override { context_.TryCancel(); }

 private:
  void Accepted(bool ok) {
    if (!ok) {  // The server is shutting down.
      service_->calls_.AcceptingStopped();
      delete this;
      return;
    }
    new Stream(service_, queue_);
    id_ = service_->calls_.Add(this, service_->options_.max_streams);
    absl::StatusOr<ServedArtifact> artifact = service_->Find(context_, request_);
    if (artifact.ok() && id_ == 0) {
      artifact =
          service_->calls_.ending()
              ? absl::UnavailableError("this worker is shutting down")
              : absl::ResourceExhaustedError(absl::StrCat(service_->options_.max_streams,
                                                          " artifact streams are open; try again"));
    }
    if (!artifact.ok()) {
      writer_.Finish(ToGrpc(artifact.status()), &finished_);
      return;
    }
    artifact_ = *std::move(artifact);
    chunk_.set_total_bytes(artifact_.bytes);
    WriteNext();
  }

  void Written(bool ok) {
    if (!ok) {
      writer_.Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the reader is gone"), &finished_);
    } else if (sent_ == artifact_.bytes) {
      writer_.Finish(grpc::Status::OK, &finished_);
    } else {
      chunk_.clear_total_bytes();
      WriteNext();
    }
  }

  void Finished(bool) {
    // Gone from the registry before it is deleted, and counted there until it is.
    OpenCalls& calls = service_->calls_;
    calls.Forget(id_);
    delete this;
    calls.Remove();
  }

  void WriteNext() {
    const int64_t count = std::min(kArtifactChunkBytes, artifact_.bytes - sent_);
    std::string& data = *chunk_.mutable_data();
    data.resize(static_cast<size_t>(count));
    const absl::Status read = artifact_.read(sent_, absl::MakeSpan(data));
    if (!read.ok()) {
      writer_.Finish(ToGrpc(read), &finished_);
      return;
    }
    sent_ += count;
    writer_.Write(chunk_, &written_);
  }

  ArtifactServiceImpl* const service_;
  grpc::ServerCompletionQueue* const queue_;
  grpc::ServerContext context_;
  v1::FetchRequest request_;
  grpc::ServerAsyncWriter<v1::FetchChunk> writer_{&context_};
  CompletionOf<Stream> accepted_{this, &Stream::Accepted};
  CompletionOf<Stream> written_{this, &Stream::Written};
  CompletionOf<Stream> finished_{this, &Stream::Finished};
  OpenCalls::Id id_ = 0;
  ServedArtifact artifact_;
  int64_t sent_ = 0;
  v1::FetchChunk chunk_;
};

void ArtifactServiceImpl::Accept(grpc::ServerCompletionQueue* queue) { new Stream(this, queue); }

}  // namespace

ServedArtifact::ServedArtifact(std::shared_ptr<const std::string> held)
    : bytes(static_cast<int64_t>(held->size())),
      read([held = std::move(held)](int64_t offset, absl::Span<char> out) {
        held->copy(out.data(), out.size(), static_cast<size_t>(offset));
        return absl::OkStatus();
      }) {}

std::unique_ptr<Service> MakeArtifactService(const AccessToken& token, ArtifactLookup lookup,
                                             const ArtifactServiceOptions& options) {
  RETORT_CHECK(lookup != nullptr);
  return std::make_unique<ArtifactServiceImpl>(token, std::move(lookup), options);
}

}  // namespace retort::rpc
