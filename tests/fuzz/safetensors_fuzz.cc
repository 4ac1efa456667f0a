// A safetensors file: a refusal that names the file, or tensors that are read back the same from
// what is written of them. A mutated header rarely has the length that the file's first eight bytes
// say, so the file is also tried with that length set right.
#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/layout/safetensors_header.h"
#include "common/tensor/tensor_file.h"
#include "fuzz/fuzz_target.h"
#include "fuzz/memory_file.h"

namespace retort::fuzz {
namespace {

using layout::SafetensorsEntry;
using layout::SafetensorsHeader;

constexpr size_t kLengthBytes = 8;

void CheckFileRefusal(const absl::Status& status, const std::string& path) {
  CheckRefusal(status, {absl::StatusCode::kInvalidArgument, absl::StatusCode::kDataLoss},
               {path + ": "});
}

void CheckHeaderRoundTrip(const SafetensorsHeader& header) {
  std::vector<layout::SafetensorsSpec> specs;
  for (const SafetensorsEntry& entry : header.entries) {
    RETORT_CHECK(entry.begin >= header.data_begin && entry.begin <= entry.end &&
                 entry.end <= header.file_bytes);
    specs.push_back({entry.name, entry.dtype, entry.shape});
  }
  const std::string written = layout::EncodeSafetensorsHeader(specs, header.metadata);
  const auto data_bytes = header.file_bytes - header.data_begin;
  const auto again =
      layout::ParseSafetensorsHeader(absl::string_view(written).substr(kLengthBytes),
                                     static_cast<int64_t>(written.size()) + data_bytes, "again");
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(again->metadata == header.metadata);
  RETORT_CHECK(again->entries.size() == header.entries.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    const SafetensorsEntry& entry = again->entries[i];
    RETORT_CHECK(entry.name == specs[i].name && entry.dtype == specs[i].dtype &&
                 entry.shape == specs[i].shape);
    RETORT_CHECK(entry.end - entry.begin == header.entries[i].end - header.entries[i].begin);
  }
}

void CheckTensorsRoundTrip(const tensor::TensorMap& tensors) {
  const MemoryFile file;
  const absl::Status written = tensor::WriteTensorFile(file.path(), tensors);
  RETORT_CHECK(written.ok()) << written;
  const auto again = tensor::ReadTensorFile(file.path());
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(again->size() == tensors.size());
  for (const auto& [name, value] : tensors) {
    const at::Tensor& other = again->at(name);
    RETORT_CHECK(other.sizes() == value.sizes() && other.scalar_type() == value.scalar_type());
    // Bits, not values: a NaN is equal to itself here.
    RETORT_CHECK(value.numel() == 0 ||
                 std::memcmp(other.const_data_ptr(), value.const_data_ptr(), value.nbytes()) == 0);
  }
}

void TryFile(absl::string_view bytes) {
  MemoryFile file;
  file.Write(bytes);
  const auto header = layout::ReadSafetensorsHeader(file.fd(), file.path());
  if (!header.ok()) return CheckFileRefusal(header.status(), file.path());
  CheckHeaderRoundTrip(*header);
  const auto tensors = tensor::ReadTensorFile(file.path());
  if (!tensors.ok()) return CheckFileRefusal(tensors.status(), file.path());
  NoteAccepted();
  CheckTensorsRoundTrip(*tensors);
}

// The header is taken to end with the last '}' and the blanks behind it.
std::string WithRightLength(absl::string_view bytes) {
  const size_t brace = bytes.rfind('}');
  if (brace == bytes.npos || brace < kLengthBytes) return "";
  const size_t data = std::min(bytes.find_first_not_of(' ', brace + 1), bytes.size());
  uint64_t length = data - kLengthBytes;
  std::string out(bytes);
  for (size_t i = 0; i < kLengthBytes; ++i) out[i] = static_cast<char>(length >> (8 * i));
  return out;
}

}  // namespace

std::vector<std::string> Seeds() {
  return {
      layout::EncodeSafetensorsHeader({{"w", "F32", {1, 2}}, {"flag", "BOOL", {}}},
                                      {{"format", "retort"}}) +
          std::string(8, '\x3f') + "\x01",
      layout::EncodeSafetensorsHeader({{"e", "I64", {0, 3}}, {"h", "BF16", {2}}}) +
          std::string(4, '\x40'),
      layout::EncodeSafetensorsHeader({}),
  };
}

}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  fuzz::TryFile(bytes);
  const std::string repaired = fuzz::WithRightLength(bytes);
  if (!repaired.empty() && repaired != bytes) fuzz::TryFile(repaired);
  return 0;
}
