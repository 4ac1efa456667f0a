// HOST:PORT addresses and the rule for listening: loopback with the token, elsewhere only with TLS
// as well.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort::rpc {

struct Endpoint {
  std::string host;  // Without brackets.
  int port = 0;      // 0 asks the system for a free one; only in a listen address.

  std::string ToString() const;  // "127.0.0.1:80", "[::1]:80".
  // 127.0.0.0/8, ::1 or "localhost". Any other name counts as remote, wherever it resolves to.
  bool IsLoopback() const;
};

// INVALID_ARGUMENT names the text and what is wrong with it.
absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view text);

// PEM files. Empty strings: no TLS. Server: certificate and key; with `ca_file` clients must
// present a certificate that it signed. Client: `ca_file` verifies the server; certificate and key
// are sent if given.
struct TlsFiles {
  std::string certificate_file = {};
  std::string key_file = {};
  std::string ca_file = {};

  bool any() const { return !certificate_file.empty() || !key_file.empty() || !ca_file.empty(); }
};

// FAILED_PRECONDITION off loopback unless certificate and key are given.
absl::Status CheckListen(const Endpoint& endpoint, const TlsFiles& tls);

}  // namespace retort::rpc
