#include "common/base/digest.h"

#include <xxhash.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/printable.h"

namespace retort {

std::string Digest::ToHex() const { return absl::StrFormat("%016x%016x", high, low); }

absl::StatusOr<Digest> Digest::FromHex(absl::string_view hex) {
  Digest digest;
  if (hex.size() != 32 || !absl::SimpleHexAtoi(hex.substr(0, 16), &digest.high) ||
      !absl::SimpleHexAtoi(hex.substr(16), &digest.low)) {
    return absl::InvalidArgumentError(
        absl::StrCat("digest \"", Printable(hex, 64), "\" is not 32 hex digits"));
  }
  return digest;
}

Digest DigestOf(const void* data, size_t size) {
  const XXH128_hash_t hash = XXH3_128bits(data, size);
  return {hash.high64, hash.low64};
}

struct Hasher::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) {
  RETORT_CHECK(state_->xxh != nullptr && XXH3_128bits_reset(state_->xxh) == XXH_OK);
}
Hasher::~Hasher() = default;

void Hasher::Update(const void* data, size_t size) {
  RETORT_CHECK(XXH3_128bits_update(state_->xxh, data, size) == XXH_OK);
}

Digest Hasher::Finish() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh);
  return {hash.high64, hash.low64};
}

}  // namespace retort
