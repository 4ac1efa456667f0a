#include "common/artifact/artifact_format.h"

#include <bit>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"

namespace retort::artifact::internal {
namespace {

static_assert(std::endian::native == std::endian::little, "artifacts are little-endian");

constexpr absl::string_view kMagic = "RTA1";
constexpr uint32_t kFormat = 1;
constexpr int64_t kAlignment = 64;
constexpr int64_t kMaxFileBytes = int64_t{4} << 30;
constexpr int64_t kMaxHeaderBytes = 2 << 20;
constexpr int64_t kMaxMetaBytes = 1 << 20;
constexpr int kMaxTensors = 64;
constexpr int kMaxDimensions = 8;
constexpr size_t kMaxNameBytes = 64;
constexpr int64_t kPreambleBytes = 8;  // Magic and header size.

int64_t Aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool AllZero(absl::string_view bytes) {
  return bytes.find_first_not_of('\0') == absl::string_view::npos;
}

std::optional<int64_t> ElementBytes(absl::string_view dtype) {
  if (dtype == "i64") return 8;
  if (dtype == "i32" || dtype == "f32") return 4;
  if (dtype == "u8") return 1;
  return std::nullopt;
}

// Bytes of a tensor, or nullopt if type or shape is out of bounds.
std::optional<int64_t> TensorBytes(const v1::TensorEntry& tensor) {
  const std::optional<int64_t> element_bytes = ElementBytes(tensor.dtype());
  if (!element_bytes || tensor.shape_size() > kMaxDimensions) return std::nullopt;
  int64_t bytes = *element_bytes;
  for (const int64_t dimension : tensor.shape()) {
    if (dimension < 0 || dimension > kMaxFileBytes) return std::nullopt;
    if (__builtin_mul_overflow(bytes, dimension, &bytes) || bytes > kMaxFileBytes) {
      return std::nullopt;
    }
  }
  return bytes;
}

absl::StatusOr<v1::ArtifactHeader> ParseHeader(absl::string_view text, absl::string_view kind) {
  v1::ArtifactHeader header;
  if (!ParseCanonical(text, &header)) {
    return absl::DataLossError("the header is no canonical ArtifactHeader");
  }
  if (header.format() != kFormat) {
    return absl::DataLossError(
        absl::StrCat("format ", header.format(), "; this build reads ", kFormat));
  }
  if (header.kind() != kind) {
    return absl::DataLossError(
        absl::StrCat("kind '", Printable(header.kind(), kMaxNameBytes), "'"));
  }
  if (header.tensors_size() > kMaxTensors ||
      static_cast<int64_t>(header.meta().size()) > kMaxMetaBytes) {
    return absl::DataLossError("more than 64 tensors, or more than 1 MiB of metadata");
  }
  return header;
}

}  // namespace

void ArtifactWriter::AddBytes(absl::string_view name, absl::string_view dtype, const void* data,
                              size_t bytes, const std::vector<int64_t>& shape) {
  v1::TensorEntry* const tensor = header_.add_tensors();
  tensor->set_name(std::string(name));
  tensor->set_dtype(std::string(dtype));
  tensor->mutable_shape()->Add(shape.begin(), shape.end());
  tensor->set_offset(tensor_bytes_);
  RETORT_CHECK(TensorBytes(*tensor).value_or(kMaxFileBytes) == static_cast<int64_t>(bytes) ||
               static_cast<int64_t>(bytes) > kMaxFileBytes)
      << name;
  payloads_.emplace_back(static_cast<const char*>(data), bytes);
  tensor_bytes_ += Aligned(static_cast<int64_t>(bytes));
}

absl::StatusOr<std::string> ArtifactWriter::Finish(absl::string_view kind, std::string meta) {
  header_.set_format(kFormat);
  header_.set_kind(std::string(kind));
  header_.set_meta(std::move(meta));
  const std::string header = header_.SerializeAsString();
  const int64_t tensors_at = Aligned(kPreambleBytes + static_cast<int64_t>(header.size()));
  if (static_cast<int64_t>(header_.meta().size()) > kMaxMetaBytes ||
      static_cast<int64_t>(header.size()) > kMaxHeaderBytes ||
      tensors_at + tensor_bytes_ > kMaxFileBytes) {
    return absl::OutOfRangeError(absl::StrCat(kind, " artifact of ", tensors_at + tensor_bytes_,
                                              " bytes, header ", header.size(), "; at most ",
                                              kMaxFileBytes, " and ", kMaxHeaderBytes));
  }
  std::string bytes;
  bytes.reserve(tensors_at + tensor_bytes_);
  bytes.append(kMagic.data(), kMagic.size());
  const auto header_bytes = static_cast<uint32_t>(header.size());
  bytes.append(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
  bytes.append(header);
  bytes.resize(tensors_at, '\0');
  for (const absl::string_view payload : payloads_) {
    bytes.append(payload.data(), payload.size());
    bytes.resize(Aligned(static_cast<int64_t>(bytes.size())), '\0');
  }
  return bytes;
}

absl::StatusOr<ArtifactReader> ArtifactReader::Parse(absl::string_view bytes,
                                                     absl::string_view kind) {
  const auto size = static_cast<int64_t>(bytes.size());
  if (size < kPreambleBytes || size > kMaxFileBytes || bytes.substr(0, kMagic.size()) != kMagic) {
    return absl::DataLossError("not an encoded artifact");
  }
  uint32_t header_bytes;
  std::memcpy(&header_bytes, bytes.data() + kMagic.size(), sizeof(header_bytes));
  const int64_t tensors_at = Aligned(kPreambleBytes + int64_t{header_bytes});
  if (header_bytes > kMaxHeaderBytes || tensors_at > size) {
    return absl::DataLossError(
        absl::StrCat("header of ", header_bytes, " bytes in an artifact of ", size));
  }
  ArtifactReader reader;
  RETORT_ASSIGN_OR_RETURN(reader.header_,
                          ParseHeader(bytes.substr(kPreambleBytes, header_bytes), kind));
  const int64_t header_end = kPreambleBytes + int64_t{header_bytes};
  if (!AllZero(bytes.substr(header_end, tensors_at - header_end))) {
    return absl::DataLossError("padding after the header is not zero");
  }
  RETORT_RETURN_IF_ERROR(reader.CheckTensors(bytes.substr(tensors_at)));
  return reader;
}

absl::Status ArtifactReader::CheckTensors(absl::string_view tensors) {
  int64_t offset = 0;
  const auto size = static_cast<int64_t>(tensors.size());
  for (const v1::TensorEntry& tensor : header_.tensors()) {
    const std::optional<int64_t> bytes = TensorBytes(tensor);
    if (tensor.name().size() > kMaxNameBytes || !bytes) {
      return absl::DataLossError("a tensor's name, type or shape is out of bounds");
    }
    if (tensor.offset() != offset || Aligned(*bytes) > size - offset) {
      return absl::DataLossError(absl::StrCat(Printable(tensor.name()), ": ", *bytes, " bytes at ",
                                              tensor.offset(), " of ", size, ", expected at ",
                                              offset));
    }
    const absl::string_view padded = tensors.substr(offset, Aligned(*bytes));
    if (!AllZero(padded.substr(*bytes))) {
      return absl::DataLossError(absl::StrCat(Printable(tensor.name()), ": padding is not zero"));
    }
    payloads_.push_back(padded.substr(0, *bytes));
    offset += Aligned(*bytes);
  }
  if (offset == size) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(size - offset, " bytes after the last tensor"));
}

absl::Status ArtifactReader::NextBytes(absl::string_view name, absl::string_view dtype,
                                       const std::vector<int64_t>* shape, absl::string_view* raw) {
  if (next_ >= header_.tensors_size()) {
    return absl::DataLossError(absl::StrCat(name, ": missing"));
  }
  const v1::TensorEntry& tensor = header_.tensors(next_);
  if (tensor.name() != name || tensor.dtype() != dtype) {
    return absl::DataLossError(absl::StrCat(name, ": found ", Printable(tensor.name()), " of ",
                                            tensor.dtype(), ", expected ", dtype));
  }
  const bool fits = shape == nullptr ? tensor.shape_size() == 1
                                     : std::equal(shape->begin(), shape->end(),
                                                  tensor.shape().begin(), tensor.shape().end());
  if (!fits) {
    return absl::DataLossError(absl::StrCat(
        name, ": shape [", absl::StrJoin(tensor.shape(), ","), "], expected ",
        shape == nullptr ? "one dimension" : absl::StrCat("[", absl::StrJoin(*shape, ","), "]")));
  }
  *raw = payloads_[next_++];
  return absl::OkStatus();
}

absl::Status ArtifactReader::Finish() const {
  if (next_ == header_.tensors_size()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(Printable(header_.tensors(next_).name()),
                                          ": a tensor that this build does not know"));
}

bool ParseCanonical(absl::string_view text, google::protobuf::Message* message) {
  if (!message->ParseFromArray(text.data(), static_cast<int>(text.size()))) return false;
  message->DiscardUnknownFields();  // They would be written again, byte for byte.
  return message->SerializeAsString() == text;
}

std::string BundleProblem(const v1::BundleId& bundle) {
  if (bundle.kind() != v1::BUNDLE_KIND_TRAIN && bundle.kind() != v1::BUNDLE_KIND_EVAL) {
    return absl::StrCat("bundle.kind: ", static_cast<int>(bundle.kind()));
  }
  if (bundle.step() < 0) return absl::StrCat("bundle.step: ", bundle.step());
  if (bundle.index() < 0) return absl::StrCat("bundle.index: ", bundle.index());
  return "";
}

std::string BundlePath(const v1::BundleId& bundle) {
  return absl::StrCat(bundle.kind() == v1::BUNDLE_KIND_EVAL ? "eval" : "train", "/", bundle.step(),
                      "/", bundle.index());
}

}  // namespace retort::artifact::internal
