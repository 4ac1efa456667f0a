// The header of a safetensors file: the one parser that the model reader, the checkpoint store and
// the conformance runner share. It trusts nothing: every number is bounded before it is used, and
// the tensors must cover the file exactly.
//
// Refused, with one line that names the file: a header above 16 MiB, or above a
// quarter of the file unless it is at most 1 MiB; a header that does not start with '{'; duplicate
// keys; more than 200,000 tensors; rank above 8; names above 512 bytes; unknown dtypes or keys;
// sizes that overflow or disagree with shape and dtype; overlapping tensors; holes; bytes after the
// last tensor; a file cut short.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort::layout {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // As in the file: "F32", "BF16", "I64", "BOOL" ...
  std::vector<int64_t> shape;  // Empty: a scalar.
  int64_t elements = 0;
  int64_t begin = 0;  // Bytes [begin, end) of the *file* (not of its data section).
  int64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // In file order: entry i + 1 begins where entry i ends.
  std::map<std::string, std::string> metadata;  // "__metadata__".
  int64_t data_begin = 0;                       // Offset of the first data byte.
  int64_t file_bytes = 0;

  // nullptr if there is none. Linear: build an index for many look-ups.
  const SafetensorsEntry* Find(absl::string_view name) const;
};

// Reads the header by pread; the data is not touched. `path` is only used in messages.
// Errors: INVALID_ARGUMENT for whatever is listed above; DATA_LOSS if the file is shorter than it
// says.
absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(int fd, const std::string& path);

// The same checks on the JSON text of a header (what follows the 8 length bytes) of a file of
// `file_bytes`.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json, int64_t file_bytes,
                                                         const std::string& path);

// Bytes of one element, 0 if `dtype` is unknown.
int64_t SafetensorsElementBytes(absl::string_view dtype);

struct SafetensorsSpec {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
};

// The 8 length bytes and the JSON of a file that holds `tensors` in this order, without holes.
// Padded with blanks so that the data begins at a multiple of 64 bytes.
std::string EncodeSafetensorsHeader(const std::vector<SafetensorsSpec>& tensors,
                                    const std::map<std::string, std::string>& metadata = {});

}  // namespace retort::layout
