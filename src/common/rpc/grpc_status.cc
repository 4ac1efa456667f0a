#include "common/rpc/grpc_status.h"

#include <string>

namespace retort::rpc {
namespace {

constexpr size_t kMaxMessageBytes = 2048;

std::string Cut(absl::string_view message) {
  if (message.size() <= kMaxMessageBytes) return std::string(message);
  size_t end = kMaxMessageBytes;
  while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;
  return std::string(message.substr(0, end));
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), Cut(status.message()));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  // A number that no absl code has reads as UNKNOWN: `code()` maps it, raw_code() would keep it.
  const absl::Status raw(static_cast<absl::StatusCode>(status.error_code()),
                         status.error_message());
  return absl::Status(raw.code(), status.error_message());
}

}  // namespace retort::rpc
