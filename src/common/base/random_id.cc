#include "common/base/random_id.h"

#include <sys/random.h>

#include <vector>

#include "absl/strings/escaping.h"
#include "common/base/check.h"

namespace retort {

std::string RandomHex(int bytes) {
  std::string raw(bytes, '\0');
  RETORT_CHECK(getrandom(raw.data(), raw.size(), 0) == static_cast<ssize_t>(raw.size()));
  return absl::BytesToHexString(raw);
}

}  // namespace retort
