#include "common/rpc/authenticate.h"

namespace retort::rpc {

absl::Status Authenticate(const grpc::ServerContextBase& context, const TokenVerifier& verifier) {
  const auto& metadata = context.client_metadata();
  const auto [begin, end] = metadata.equal_range(kTokenMetadataKey);
  if (begin != end && std::next(begin) == end &&
      verifier.Matches(absl::string_view(begin->second.data(), begin->second.size()))) {
    return absl::OkStatus();
  }
  return absl::UnauthenticatedError(
      "a valid access token is required (metadata retort-token): what the server's --token-file "
      "holds");
}

}  // namespace retort::rpc
