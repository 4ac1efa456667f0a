// Random damage to an input: bytes, ranges, numbers, and the tokens that parsers of YAML and JSON
// trip over.
#pragma once

#include <string>

#include "common/base/rng.h"

namespace retort::fuzz {

// `input` with one to four mutations, each inside one of its documents. `other` is a donor of
// ranges. The same arguments and the same state of `rng` give the same bytes.
std::string Mutate(const std::string& input, const std::string& other, CounterRng& rng);

}  // namespace retort::fuzz
