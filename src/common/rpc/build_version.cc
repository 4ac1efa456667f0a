#include "common/rpc/build_version.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace retort::rpc {
namespace {

std::string& Version() {
  static auto* const version = new std::string("retort " RETORT_VERSION);
  return *version;
}

}  // namespace

absl::string_view BuildVersion() { return Version(); }

void IdentifyBuild(absl::string_view source_digest) {
  Version() = absl::StrCat("retort " RETORT_VERSION " (build ", source_digest, ")");
}

}  // namespace retort::rpc
