// The token that every Retort service demands, on loopback too. Sent as metadata "retort-token".
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort::rpc {

inline constexpr char kTokenMetadataKey[] = "retort-token";

// A client's copy. There is no stream operator: a token never reaches a log.
class AccessToken {
 public:
  // 256 random bits.
  static AccessToken Generate();
  // The first line of a file that only its owner can read. Errors: NOT_FOUND; PERMISSION_DENIED
  // others may read or write it; INVALID_ARGUMENT not 32 to 256 printable characters without
  // spaces.
  static absl::StatusOr<AccessToken> ReadFile(const std::string& path);
  // Makes `path` with mode 0600. ALREADY_EXISTS if it is there.
  absl::Status WriteFile(const std::string& path) const;

  const std::string& secret() const { return secret_; }

 private:
  explicit AccessToken(std::string secret) : secret_(std::move(secret)) {}

  std::string secret_;
};

// A server's copy: the SHA-256 of the token, compared in constant time. Immutable, so thread-safe.
class TokenVerifier {
 public:
  explicit TokenVerifier(const AccessToken& token);
  bool Matches(absl::string_view candidate) const;

 private:
  std::array<uint8_t, 32> hash_;
};

}  // namespace retort::rpc
