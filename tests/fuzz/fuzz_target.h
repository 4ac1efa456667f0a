// What the fuzz targets of this folder share. A target is one file: it hands bytes from outside to
// one parser and aborts unless it gets either a refusal that names what is wrong in one line, or a
// value that survives its own round trip. It defines Seeds() and LLVMFuzzerTestOneInput(); either
// replay_main.cc or libFuzzer calls them (CMakeLists.txt says when).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// Every target's own. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace retort::fuzz {

// Every target's own: valid inputs that mutations start from.
std::vector<std::string> Seeds();

// An input of several documents, such as a job and its overrides, has this between them.
inline constexpr absl::string_view kSeparator = "\n%%%%\n";

// At least one, views into the input.
std::vector<absl::string_view> Documents(const uint8_t* data, size_t size);

// The parser took the input. The replay checks that it takes every seed: a refused seed would make
// the target test nothing but the first check of the parser.
void NoteAccepted();
int64_t AcceptedCount();

// Aborts unless `status` has one of `codes`, begins with one of `sources` and is a single line of
// valid UTF-8 without control characters.
void CheckRefusal(const absl::Status& status, std::initializer_list<absl::StatusCode> codes,
                  std::initializer_list<absl::string_view> sources);

}  // namespace retort::fuzz
