#include "common/rpc/artifact_fetch.h"

#include <memory>
#include <new>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"
#include "common/rpc/artifact_service.h"
#include "common/rpc/grpc_status.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/sync_stream.h"
#include "retort/v1/artifact.grpc.pb.h"

namespace retort::rpc {
namespace {

std::string Name(const v1::ArtifactRef& ref) {
  return absl::StrCat("artifact ", ref.artifact_id(), " of ", ref.address());
}

absl::Status CheckRef(const v1::ArtifactRef& ref) {
  if (ref.artifact_id().empty() || ref.artifact_id().size() > 128) {
    return absl::InvalidArgumentError(absl::StrCat(
        "artifact reference: id of ", ref.artifact_id().size(), " bytes; expected 1 to 128"));
  }
  if (ref.bytes() < 0 || ref.bytes() > kMaxArtifactBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(Name(ref), ": ", ref.bytes(), " bytes; expected 0 to ", kMaxArtifactBytes));
  }
  return WithContext(Digest::FromHex(ref.digest()).status(), absl::StrCat(Name(ref), ": digest"));
}

// The first chunk announces the total; nothing is allocated before it agrees with the reference.
absl::Status TakeFirst(const v1::FetchChunk& chunk, const v1::ArtifactRef& ref,
                       std::string* bytes) {
  if (chunk.total_bytes() != ref.bytes()) {
    return absl::DataLossError(absl::StrCat(Name(ref), ": the holder announces ",
                                            chunk.total_bytes(), " bytes, expected ", ref.bytes()));
  }
  try {
    bytes->reserve(ref.bytes());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat(Name(ref), ": no memory for ", ref.bytes(), " bytes"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Receive(const v1::ArtifactRef& ref,
                                    grpc::ClientReader<v1::FetchChunk>* reader) {
  std::string bytes;
  bool first = true;
  v1::FetchChunk chunk;
  while (reader->Read(&chunk)) {
    if (first) RETORT_RETURN_IF_ERROR(TakeFirst(chunk, ref, &bytes));
    first = false;
    if (static_cast<int64_t>(bytes.size() + chunk.data().size()) > ref.bytes()) {
      return absl::DataLossError(
          absl::StrCat(Name(ref), ": more than the ", ref.bytes(), " bytes announced"));
    }
    bytes.append(chunk.data());
  }
  return bytes;
}

absl::StatusOr<std::string> Call(const v1::ArtifactRef& ref,
                                 const std::shared_ptr<grpc::Channel>& channel,
                                 const AccessToken& token, absl::Duration deadline) {
  const auto stub = v1::ArtifactService::NewStub(channel);
  grpc::ClientContext context;
  PrepareCall(token, deadline, &context);
  v1::FetchRequest request;
  request.set_artifact_id(ref.artifact_id());
  const auto reader = stub->Fetch(&context, request);
  absl::StatusOr<std::string> bytes = Receive(ref, reader.get());
  if (!bytes.ok()) {
    context.TryCancel();
    reader->Finish();
    return bytes.status();
  }
  RETORT_RETURN_IF_ERROR(WithContext(FromGrpc(reader->Finish()), Name(ref)));
  if (static_cast<int64_t>(bytes->size()) != ref.bytes()) {
    return absl::DataLossError(
        absl::StrCat(Name(ref), ": ended after ", bytes->size(), " bytes, expected ", ref.bytes()));
  }
  RETORT_ASSIGN_OR_RETURN(const Digest expected, Digest::FromHex(ref.digest()));
  if (const Digest got = DigestOf(*bytes); got != expected) {
    return absl::DataLossError(
        absl::StrCat(Name(ref), ": digest ", got.ToHex(), ", expected ", ref.digest()));
  }
  return bytes;
}

}  // namespace

absl::StatusOr<std::string> FetchArtifact(const v1::ArtifactRef& ref, ChannelCache& channels,
                                          absl::Duration deadline) {
  RETORT_RETURN_IF_ERROR(CheckRef(ref));
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel,
                          channels.Get(ref.address()));
  absl::StatusOr<std::string> bytes = Call(ref, channel, channels.token(), deadline);
  if (absl::IsUnavailable(bytes.status()) || absl::IsDeadlineExceeded(bytes.status())) {
    channels.Forget(ref.address());
  }
  return bytes;
}

}  // namespace retort::rpc
