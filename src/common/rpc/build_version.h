// The text that Hello.build carries. Driver and workers must be of one build: the wire and every
// digest depend on it.
#pragma once

#include "absl/strings/string_view.h"

namespace retort::rpc {

absl::string_view BuildVersion();  // "retort 0.1.0".

}  // namespace retort::rpc
