// Identifiers that must not repeat: job ids, incarnations, access tokens. From getrandom(2); never
// used for anything that training depends on (that is base/rng.h).
#pragma once

#include <string>

namespace retort {

// `bytes` random bytes as lower-case hex.
std::string RandomHex(int bytes);

}  // namespace retort
