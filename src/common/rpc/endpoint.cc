#include "common/rpc/endpoint.h"

#include <arpa/inet.h>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/printable.h"

namespace retort::rpc {
namespace {

absl::Status BadEndpoint(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("address '", Printable(text, 256), "': ", what,
                   "; expected HOST:PORT or [IPV6]:PORT, for example 127.0.0.1:7070"));
}

}  // namespace

std::string Endpoint::ToString() const {
  if (absl::StrContains(host, ':')) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

bool Endpoint::IsLoopback() const {
  if (host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return false;
}

absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view text) {
  if (text.size() > 256) return BadEndpoint(text, "longer than 256 bytes");
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return BadEndpoint(text, "no port");
  absl::string_view host = text.substr(0, colon);
  const absl::string_view port_text = text.substr(colon + 1);
  Endpoint endpoint;
  if (port_text.empty() || port_text.size() > 5 ||
      port_text.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(port_text, &endpoint.port) || endpoint.port > 65535) {
    return BadEndpoint(text, "the port is not a number from 0 to 65535");
  }
  if (!host.empty() && host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return BadEndpoint(text, "unbalanced brackets");
    host = host.substr(1, host.size() - 2);
    in6_addr v6;
    if (inet_pton(AF_INET6, std::string(host).c_str(), &v6) != 1) {
      return BadEndpoint(text, "no IPv6 address in the brackets");
    }
  } else if (host.empty() ||
             host.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789.-_") != absl::string_view::npos) {
    return BadEndpoint(text, "the host is empty or has characters that no host name has");
  }
  endpoint.host = std::string(host);
  return endpoint;
}

absl::Status CheckListen(const Endpoint& endpoint, const TlsFiles& tls) {
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    return absl::InvalidArgumentError("TLS needs both a certificate file and a key file");
  }
  if (endpoint.IsLoopback() || !tls.certificate_file.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("refusing to listen on ", endpoint.ToString(),
                   ": off loopback TLS is required; give a certificate and a key, or listen on "
                   "127.0.0.1"));
}

}  // namespace retort::rpc
