#include "common/ring/tensor_header.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/ring/ring_memory.h"

namespace retort::ring {
namespace {

constexpr int64_t kTooLarge = -1;

// Product of the shape times the element's size; kTooLarge when that exceeds `limit` anywhere on
// the way or an extent is negative.
int64_t BytesOf(const TensorHeader& header, int64_t limit) {
  int64_t bytes = DtypeBytes(header.dtype);
  for (const int64_t extent : header.shape) {
    if (extent < 0) return kTooLarge;
    if (extent == 0) bytes = 0;
    if (bytes != 0 && extent > limit / bytes) return kTooLarge;
    bytes *= extent;
  }
  return bytes <= limit ? bytes : kTooLarge;
}

absl::Status Wrong(const TensorHeader& header, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", header.sequence, " of step ", header.step, ": ", what));
}

}  // namespace

int64_t DtypeBytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::kFloat32:
    case Dtype::kInt32:
      return 4;
    case Dtype::kBFloat16:
    case Dtype::kFloat16:
      return 2;
    case Dtype::kInt64:
      return 8;
    case Dtype::kUint8:
      return 1;
  }
  return 0;
}

absl::string_view DtypeName(Dtype dtype) {
  switch (dtype) {
    case Dtype::kFloat32:
      return "float32";
    case Dtype::kBFloat16:
      return "bfloat16";
    case Dtype::kFloat16:
      return "float16";
    case Dtype::kInt64:
      return "int64";
    case Dtype::kInt32:
      return "int32";
    case Dtype::kUint8:
      return "uint8";
  }
  return "?";
}

TensorHeader MakeTensorHeader(int64_t step, int64_t sequence, Dtype dtype,
                              std::vector<int64_t> shape, std::string annotation) {
  TensorHeader header;
  header.step = step;
  header.sequence = sequence;
  header.dtype = dtype;
  header.shape = std::move(shape);
  header.bytes = BytesOf(header, kMaxSlotBytes);
  header.annotation = std::move(annotation);
  return header;
}

absl::Status CheckTensorHeader(const TensorHeader& header, int64_t slot_bytes) {
  if (header.sequence < 0 || header.step < 0) return Wrong(header, "a number is negative");
  if (DtypeBytes(header.dtype) == 0) {
    return Wrong(header, absl::StrCat(static_cast<uint32_t>(header.dtype), " is no dtype"));
  }
  if (header.shape.size() > kMaxTensorDimensions) {
    return Wrong(header,
                 absl::StrCat(header.shape.size(), " dimensions; at most ", kMaxTensorDimensions));
  }
  if (header.annotation.size() > kMaxAnnotationBytes) {
    return Wrong(header, absl::StrCat("annotation of ", header.annotation.size(),
                                      " bytes; at most ", kMaxAnnotationBytes));
  }
  const int64_t bytes = BytesOf(header, slot_bytes);
  if (bytes == kTooLarge) {
    return Wrong(header, absl::StrCat("its shape does not fit a slot of ", slot_bytes, " bytes"));
  }
  if (bytes != header.bytes) {
    return Wrong(header, absl::StrCat(header.bytes, " bytes; its shape has ", bytes));
  }
  return absl::OkStatus();
}

SlotRecord ToRecord(const TensorHeader& header, uint64_t epoch, uint64_t generation) {
  SlotRecord record{};
  record.epoch = epoch;
  record.generation = generation;
  record.step = header.step;
  record.sequence = header.sequence;
  record.bytes = header.bytes;
  record.dtype = static_cast<uint32_t>(header.dtype);
  record.dimensions = static_cast<uint32_t>(header.shape.size());
  for (size_t i = 0; i < header.shape.size(); ++i) record.shape[i] = header.shape[i];
  record.annotation_bytes = header.annotation.size();
  std::memcpy(record.annotation, header.annotation.data(), header.annotation.size());
  return record;
}

absl::StatusOr<TensorHeader> FromRecord(const SlotRecord& record, int64_t slot_bytes) {
  if (record.dimensions > kMaxTensorDimensions || record.annotation_bytes > kMaxAnnotationBytes) {
    return absl::DataLossError(absl::StrCat("a slot's header says ", record.dimensions,
                                            " dimensions and an annotation of ",
                                            record.annotation_bytes, " bytes"));
  }
  TensorHeader header;
  header.epoch = record.epoch;
  header.step = record.step;
  header.sequence = record.sequence;
  header.dtype = static_cast<Dtype>(record.dtype);
  header.shape.assign(record.shape, record.shape + record.dimensions);
  header.bytes = record.bytes;
  header.annotation.assign(record.annotation, record.annotation_bytes);
  if (const absl::Status status = CheckTensorHeader(header, slot_bytes); !status.ok()) {
    return absl::DataLossError(absl::StrCat("a slot's header is damaged: ", status.message()));
  }
  return header;
}

}  // namespace retort::ring
