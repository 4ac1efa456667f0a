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

std::string Name(absl::string_view address, absl::string_view id) {
  return absl::StrCat("artifact ", id, " of ", address);
}
std::string Name(const v1::ArtifactRef& ref) { return Name(ref.address(), ref.artifact_id()); }

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

// Hands on what comes until the stream ends; OK when as much came as was announced.
absl::Status Receive(grpc::ClientReader<v1::FetchChunk>* reader, const ArtifactSink& sink,
                     int64_t* missing) {
  int64_t announced = -1;
  v1::FetchChunk chunk;
  while (reader->Read(&chunk)) {
    if (announced < 0) {
      announced = chunk.total_bytes();
      *missing = announced;
      RETORT_RETURN_IF_ERROR(sink.begin(announced));
    }
    *missing -= static_cast<int64_t>(chunk.data().size());
    if (*missing < 0) {
      return absl::DataLossError(absl::StrCat("more than the ", announced, " bytes announced"));
    }
    RETORT_RETURN_IF_ERROR(sink.data(chunk.data()));
  }
  return absl::OkStatus();
}

absl::Status Call(const std::string& id, const std::shared_ptr<grpc::Channel>& channel,
                  const AccessToken& token, absl::Duration deadline, const ArtifactSink& sink) {
  const auto stub = v1::ArtifactService::NewStub(channel);
  grpc::ClientContext context;
  PrepareCall(token, deadline, &context);
  v1::FetchRequest request;
  request.set_artifact_id(id);
  const auto reader = stub->Fetch(&context, request);
  int64_t missing = 0;
  const absl::Status received = Receive(reader.get(), sink, &missing);
  if (!received.ok()) {
    context.TryCancel();
    reader->Finish();
    return received;
  }
  RETORT_RETURN_IF_ERROR(FromGrpc(reader->Finish()));
  if (missing == 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("ended ", missing, " bytes short of what was announced"));
}

// Nothing is allocated before the announced size agrees with the reference.
absl::Status Reserve(const v1::ArtifactRef& ref, int64_t announced, std::string* bytes) {
  if (announced != ref.bytes()) {
    return absl::DataLossError(
        absl::StrCat("the holder announces ", announced, " bytes, expected ", ref.bytes()));
  }
  try {
    bytes->reserve(ref.bytes());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", ref.bytes(), " bytes"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status StreamArtifact(const std::string& address, const std::string& id,
                            ChannelCache& channels, absl::Duration deadline,
                            const ArtifactSink& sink) {
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, channels.Get(address));
  const absl::Status status = Call(id, channel, channels.token(), deadline, sink);
  if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) channels.Forget(address);
  return WithContext(status, Name(address, id));
}

absl::StatusOr<std::string> FetchArtifact(const v1::ArtifactRef& ref, ChannelCache& channels,
                                          absl::Duration deadline) {
  RETORT_RETURN_IF_ERROR(CheckRef(ref));
  std::string bytes;
  ArtifactSink sink;
  sink.begin = [&](int64_t announced) { return Reserve(ref, announced, &bytes); };
  sink.data = [&](absl::string_view chunk) {
    bytes.append(chunk.data(), chunk.size());
    return absl::OkStatus();
  };
  RETORT_RETURN_IF_ERROR(
      StreamArtifact(ref.address(), ref.artifact_id(), channels, deadline, sink));
  RETORT_ASSIGN_OR_RETURN(const Digest expected, Digest::FromHex(ref.digest()));
  if (static_cast<int64_t>(bytes.size()) != ref.bytes()) {  // Not even one chunk came.
    return absl::DataLossError(absl::StrCat(Name(ref), ": no bytes came, expected ", ref.bytes()));
  }
  if (const Digest got = DigestOf(bytes); got != expected) {
    return absl::DataLossError(
        absl::StrCat(Name(ref), ": digest ", got.ToHex(), ", expected ", ref.digest()));
  }
  return bytes;
}

}  // namespace retort::rpc
