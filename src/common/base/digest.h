// 128-bit content digest (XXH3) of payloads, weights and files. It finds corruption and divergence;
// it is not a signature: authenticity comes from the authenticated channel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort {

struct Digest {
  uint64_t high = 0;
  uint64_t low = 0;

  bool operator==(const Digest&) const = default;
  std::string ToHex() const;  // 32 lower-case hex digits.
  // INVALID_ARGUMENT unless `hex` is 32 hex digits.
  static absl::StatusOr<Digest> FromHex(absl::string_view hex);
};

Digest DigestOf(const void* data, size_t size);
inline Digest DigestOf(absl::string_view text) { return DigestOf(text.data(), text.size()); }

// The digest of the concatenation of all Update() calls.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void Update(const void* data, size_t size);
  void Update(absl::string_view text) { Update(text.data(), text.size()); }
  Digest Finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace retort
