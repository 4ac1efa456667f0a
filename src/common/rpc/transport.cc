#include "common/rpc/transport.h"

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "grpc/grpc.h"
#include "grpc/support/log.h"

namespace retort::rpc::internal {
namespace {

constexpr int64_t kMaxPemBytes = 1 << 20;

absl::Status ReadPem(const std::string& path, absl::string_view what, std::string* text) {
  if (path.empty()) return absl::OkStatus();
  absl::StatusOr<std::string> read = ReadFile(path, kMaxPemBytes);
  if (!read.ok()) return WithContext(read.status(), absl::StrCat("TLS ", what));
  *text = *std::move(read);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TlsContents> ReadTlsFiles(const TlsFiles& tls) {
  TlsContents contents;
  RETORT_RETURN_IF_ERROR(ReadPem(tls.certificate_file, "certificate", &contents.certificate));
  RETORT_RETURN_IF_ERROR(ReadPem(tls.key_file, "key", &contents.key));
  RETORT_RETURN_IF_ERROR(ReadPem(tls.ca_file, "CA", &contents.ca));
  return contents;
}

void UseGrpc() {
  static const bool initialised = [] {
    gpr_set_log_function([](gpr_log_func_args* line) { LogDebug("grpc {}", line->message); });
    grpc_init();
    return true;
  }();
  (void)initialised;
}

gpr_timespec DeadlineAfter(absl::Duration duration) {
  if (duration >= absl::Hours(24 * 365)) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(absl::ToInt64Nanoseconds(duration), GPR_TIMESPAN));
}

}  // namespace retort::rpc::internal
