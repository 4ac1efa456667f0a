// The framing of encoded artifacts (proto/retort/v1/artifact.proto), below the typed codecs.
// Internal to artifact/. There is exactly one encoding of given contents: a reader refuses any
// other bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "retort/v1/artifact.pb.h"

namespace retort::artifact::internal {

template <typename T>
constexpr absl::string_view DtypeName() {
  if constexpr (std::is_same_v<T, int64_t>) return "i64";
  if constexpr (std::is_same_v<T, int32_t>) return "i32";
  if constexpr (std::is_same_v<T, float>) return "f32";
  if constexpr (std::is_same_v<T, uint8_t>) return "u8";
}

class ArtifactWriter {
 public:
  // Names the memory, which must stay until Finish. product(shape) == values.size().
  template <typename T>
  void Add(absl::string_view name, absl::Span<const T> values, std::vector<int64_t> shape) {
    AddBytes(name, DtypeName<T>(), values.data(), values.size() * sizeof(T), shape);
  }

  // Errors: OUT_OF_RANGE above 4 GiB, or a header above its bound.
  absl::StatusOr<std::string> Finish(absl::string_view kind, std::string meta);

 private:
  void AddBytes(absl::string_view name, absl::string_view dtype, const void* data, size_t bytes,
                const std::vector<int64_t>& shape);

  v1::ArtifactHeader header_;
  std::vector<absl::string_view> payloads_;
  int64_t tensor_bytes_ = 0;
};

// Hands out tensors in the order in which they were added. The bytes must outlive it. Errors:
// DATA_LOSS.
class ArtifactReader {
 public:
  // Checks magic, header, extents and padding: after it every tensor lies inside `bytes`.
  static absl::StatusOr<ArtifactReader> Parse(absl::string_view bytes, absl::string_view kind);

  const std::string& meta() const { return header_.meta(); }

  // The next tensor, which must have this name, type and shape.
  template <typename T>
  absl::Status Next(absl::string_view name, const std::vector<int64_t>& shape,
                    std::vector<T>* values) {
    absl::string_view raw;
    if (absl::Status status = NextBytes(name, DtypeName<T>(), &shape, &raw); !status.ok()) {
      return status;
    }
    Copy(raw, values);
    return absl::OkStatus();
  }
  // As Next, one-dimensional of any length.
  template <typename T>
  absl::Status NextVector(absl::string_view name, std::vector<T>* values) {
    absl::string_view raw;
    if (absl::Status status = NextBytes(name, DtypeName<T>(), nullptr, &raw); !status.ok()) {
      return status;
    }
    Copy(raw, values);
    return absl::OkStatus();
  }
  // OK once every tensor was handed out.
  absl::Status Finish() const;

 private:
  absl::Status CheckTensors(absl::string_view tensors);
  absl::Status NextBytes(absl::string_view name, absl::string_view dtype,
                         const std::vector<int64_t>* shape, absl::string_view* raw);
  template <typename T>
  static void Copy(absl::string_view raw, std::vector<T>* values) {
    values->resize(raw.size() / sizeof(T));
    if (!raw.empty()) std::memcpy(values->data(), raw.data(), raw.size());
  }

  v1::ArtifactHeader header_;
  std::vector<absl::string_view> payloads_;
  int next_ = 0;
};

// Whether `text` is the one encoding of what this build reads from it: no unknown field, none out
// of order, no default spelled out.
bool ParseCanonical(absl::string_view text, google::protobuf::Message* message);

// Empty when the bundle is one that an artifact can be of, else what is wrong.
std::string BundleProblem(const v1::BundleId& bundle);
// "train/12/3".
std::string BundlePath(const v1::BundleId& bundle);

}  // namespace retort::artifact::internal
