// Whole safetensors files with arbitrary tensors as a map of at::Tensor: conformance cases,
// checkpoint shards, saved bad batches. Models are read by the bounded reader over a layout
// instead.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/layout/safetensors_header.h"
#include "common/tensor/aten.h"

namespace retort::tensor {

using TensorMap = std::map<std::string, at::Tensor>;

// All tensors of the file, on the CPU, each with memory of its own. The header is checked as
// safetensors_header.h says; BOOL bytes other than 0 and 1 are refused. Values may be NaN: callers
// that must not see one check. Errors: NOT_FOUND no file; RESOURCE_EXHAUSTED above `max_bytes`;
// INVALID_ARGUMENT / DATA_LOSS bad file.
absl::StatusOr<TensorMap> ReadTensorFile(const std::string& path,
                                         int64_t max_bytes = int64_t{1} << 34);

// The bytes of one entry into `out`: contiguous, of the entry's dtype and number of elements.
absl::Status ReadEntry(int fd, const std::string& path, const layout::SafetensorsEntry& entry,
                       at::Tensor out);

struct WrittenFile {
  int64_t bytes = 0;
  Digest digest;  // Of the bytes that were handed to the file system, not of what it kept.
};

// Writes `tensors` in name order and fsyncs (the caller renames). Fills `written` unless it is
// null. Errors: RESOURCE_EXHAUSTED disk full, the file is removed; INVALID_ARGUMENT a dtype that
// the format lacks.
absl::Status WriteTensorFile(const std::string& path, const TensorMap& tensors,
                             const std::map<std::string, std::string>& metadata = {},
                             WrittenFile* written = nullptr);

// INVALID_ARGUMENT if it is not one of F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL.
absl::StatusOr<at::ScalarType> ScalarTypeOf(const std::string& safetensors_dtype);
absl::StatusOr<std::string> SafetensorsDtypeOf(at::ScalarType type);

}  // namespace retort::tensor
