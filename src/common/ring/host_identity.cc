#include "common/ring/host_identity.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace retort::ring {
namespace {

constexpr absl::string_view kRemedy = "mount /proc, or name the host with --host-identity";

}  // namespace

absl::StatusOr<std::string> OwnHostIdentity() {
  const std::string boot_file = "/proc/sys/kernel/random/boot_id";
  const absl::StatusOr<std::string> boot = ReadFile(boot_file, 256);
  if (!boot.ok()) return WithContext(boot.status(), kRemedy);
  struct stat network {};
  if (stat("/proc/self/ns/net", &network) != 0) {
    return WithContext(ErrnoError(errno, "/proc/self/ns/net"), kRemedy);
  }
  return absl::StrCat(absl::StripAsciiWhitespace(*boot), "/net", network.st_ino);
}

absl::Status CheckHostIdentity(absl::string_view identity) {
  const bool printable = std::all_of(identity.begin(), identity.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
  if (printable && !identity.empty() && identity.size() <= kMaxHostIdentityBytes) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("the host identity has ", identity.size(),
                                                 " bytes; expected 1 to ", kMaxHostIdentityBytes,
                                                 " printable ASCII characters without spaces"));
}

}  // namespace retort::ring
