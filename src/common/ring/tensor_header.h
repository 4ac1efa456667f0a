// What a ring's slot says about the tensor in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace retort::ring {

enum class Dtype : uint32_t {
  kFloat32 = 1,
  kBFloat16 = 2,
  kFloat16 = 3,
  kInt64 = 4,
  kInt32 = 5,
  kUint8 = 6,
};

// Of one element; 0 for a value that names no dtype.
int64_t DtypeBytes(Dtype dtype);
absl::string_view DtypeName(Dtype dtype);  // "float32"; "?" for a value that names none.

inline constexpr int kMaxTensorDimensions = 8;
inline constexpr int kMaxAnnotationBytes = 512;

struct TensorHeader {
  uint64_t epoch = 0;  // Of the producer that wrote it; Commit fills it in.
  int64_t step = 0;    // The caller's, >= 0.
  int64_t sequence =
      0;  // Number of the tensor in the ring, >= 0; it lies in slot sequence mod slots.
  Dtype dtype = Dtype::kFloat32;
  std::vector<int64_t> shape;  // At most kMaxTensorDimensions, each >= 0; empty is a scalar.
  int64_t bytes = 0;           // Product of `shape` times the dtype's size.
  std::string annotation;      // The caller's, at most kMaxAnnotationBytes.

  bool operator==(const TensorHeader&) const = default;
};

// A header of contiguous elements, `bytes` filled in.
TensorHeader MakeTensorHeader(int64_t step, int64_t sequence, Dtype dtype,
                              std::vector<int64_t> shape, std::string annotation = {});

// INVALID_ARGUMENT names the field that is wrong, or that the tensor does not fit `slot_bytes`.
absl::Status CheckTensorHeader(const TensorHeader& header, int64_t slot_bytes);

}  // namespace retort::ring
