// Writes one number of a step record.
#pragma once

#include <string>

#include "google/protobuf/map.h"

namespace retort::worker {

// Takes the name as a string: GCC 12 sees an overflow (-Warray-bounds) in the map's own conversion
// of a literal.
inline void PutNumber(google::protobuf::Map<std::string, double>& numbers, const std::string& name,
                      double value) {
  numbers[name] = value;
}

}  // namespace retort::worker
