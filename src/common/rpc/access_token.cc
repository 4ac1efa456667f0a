#include "common/rpc/access_token.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"

namespace retort::rpc {
namespace {

constexpr size_t kMinBytes = 32;
constexpr size_t kMaxBytes = 256;

std::array<uint8_t, 32> Sha256(absl::string_view text) {
  std::array<uint8_t, 32> hash;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash.data());
  return hash;
}

}  // namespace

AccessToken AccessToken::Generate() { return AccessToken(RandomHex(32)); }

absl::StatusOr<AccessToken> AccessToken::ReadFile(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid()) return ErrnoError(errno, absl::StrCat("open token file ", path));
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoError(errno, absl::StrCat("stat ", path));
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file; expected a token"));
  }
  if ((info.st_mode & 077) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, ": others may read or write the token file; run chmod 600 ", path));
  }
  if (info.st_size < static_cast<off_t>(kMinBytes) ||
      info.st_size > static_cast<off_t>(kMaxBytes) + 1) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": a token file of ", info.st_size,
                                                   " bytes; expected one line of ", kMinBytes,
                                                   " to ", kMaxBytes, " characters"));
  }
  std::string text(info.st_size, '\0');
  RETORT_RETURN_IF_ERROR(ReadAt(fd.get(), path, 0, info.st_size, text.data()));
  if (text.back() == '\n') text.pop_back();
  bool printable = text.size() >= kMinBytes && text.size() <= kMaxBytes;
  for (const char c : text) printable = printable && absl::ascii_isgraph(c);
  if (!printable) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected one line of ", kMinBytes,
                                                   " to ", kMaxBytes,
                                                   " printable characters without spaces"));
  }
  return AccessToken(std::move(text));
}

absl::Status AccessToken::WriteFile(const std::string& path) const {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoError(errno, absl::StrCat("create token file ", path));
  return WriteAll(fd.get(), absl::StrCat(secret_, "\n"), path);
}

TokenVerifier::TokenVerifier(const AccessToken& token) : hash_(Sha256(token.secret())) {}

bool TokenVerifier::Matches(absl::string_view candidate) const {
  const std::array<uint8_t, 32> hash = Sha256(candidate);
  return CRYPTO_memcmp(hash.data(), hash_.data(), hash_.size()) == 0;
}

}  // namespace retort::rpc
