#include "common/rpc/build_version.h"

namespace retort::rpc {

absl::string_view BuildVersion() { return "retort " RETORT_VERSION; }

}  // namespace retort::rpc
