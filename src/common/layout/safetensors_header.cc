#include "common/layout/safetensors_header.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kMaxHeaderBytes = int64_t{16} << 20;
constexpr int64_t kTinyHeaderBytes = int64_t{1} << 20;
constexpr size_t kMaxTensors = 200'000;
constexpr size_t kMaxRank = 8;
constexpr int64_t kMaxElements = int64_t{1} << 48;
constexpr size_t kMaxNameBytes = 512;
constexpr int64_t kDataAlignment = 64;
constexpr char kMetadataKey[] = "__metadata__";

absl::Status Bad(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

std::string Quoted(const std::string& name) { return absl::StrCat("\"", Printable(name), "\""); }

// A JSON number as a non-negative 63-bit integer.
bool ToSize(const nlohmann::json& value, int64_t* out) {
  if (!value.is_number_unsigned()) return false;
  const uint64_t number = value.get<uint64_t>();
  if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return false;
  *out = static_cast<int64_t>(number);
  return true;
}

absl::Status ParseMetadata(const nlohmann::json& value, const std::string& path,
                           SafetensorsHeader* header) {
  if (!value.is_object()) return Bad(path, "__metadata__ is not an object of strings");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string())
      return Bad(path, absl::StrCat("__metadata__ ", Quoted(key), " is not a string"));
    header->metadata.emplace(key, text.get<std::string>());
  }
  return absl::OkStatus();
}

absl::Status ParseShape(const nlohmann::json& value, const std::string& path,
                        SafetensorsEntry* entry) {
  const std::string where = absl::StrCat("tensor ", Quoted(entry->name));
  if (!value.is_array() || value.size() > kMaxRank) {
    return Bad(path, absl::StrCat(where, ": shape is not a list of at most ", kMaxRank, " sizes"));
  }
  entry->elements = 1;
  int64_t extent = 1;  // As if no size were 0: strides must not overflow either.
  for (const nlohmann::json& item : value) {
    int64_t size = 0;
    if (!ToSize(item, &size)) {
      return Bad(path, absl::StrCat(where, ": a size of its shape is no integer >= 0"));
    }
    if (__builtin_mul_overflow(extent, std::max<int64_t>(size, 1), &extent) ||
        extent > kMaxElements) {
      return Bad(path, absl::StrCat(where, ": its shape spans more than 2^48 elements"));
    }
    entry->elements *= size;
    entry->shape.push_back(size);
  }
  return absl::OkStatus();
}

// Checks that offsets, dtype and shape agree; leaves file offsets in `entry`.
absl::Status ParseOffsets(const nlohmann::json& value, int64_t data_begin, int64_t file_bytes,
                          const std::string& path, SafetensorsEntry* entry) {
  const std::string where = absl::StrCat("tensor ", Quoted(entry->name));
  int64_t begin = 0, end = 0, bytes = 0;
  if (!value.is_array() || value.size() != 2 || !ToSize(value[0], &begin) ||
      !ToSize(value[1], &end) || begin > end) {
    return Bad(path,
               absl::StrCat(where, ": data_offsets is not [begin, end] with 0 <= begin <= end"));
  }
  if (__builtin_mul_overflow(entry->elements, SafetensorsElementBytes(entry->dtype), &bytes) ||
      bytes != end - begin) {
    return Bad(path,
               absl::StrCat(where, ": data_offsets span ", end - begin,
                            " bytes, but its shape and dtype ", entry->dtype, " need ", bytes));
  }
  if (end > file_bytes - data_begin) {
    return absl::DataLossError(absl::StrCat(path, ": ", where, " ends at data byte ", end,
                                            ", but the file has only ", file_bytes - data_begin,
                                            " data bytes; the file was cut short"));
  }
  entry->begin = data_begin + begin;
  entry->end = data_begin + end;
  return absl::OkStatus();
}

absl::Status ParseEntry(const std::string& name, const nlohmann::json& value, int64_t data_begin,
                        int64_t file_bytes, const std::string& path, SafetensorsHeader* header) {
  if (name.size() > kMaxNameBytes) {
    return Bad(path, absl::StrCat("tensor name ", Quoted(name), " is longer than ", kMaxNameBytes,
                                  " bytes"));
  }
  SafetensorsEntry entry;
  entry.name = name;
  const std::string where = absl::StrCat("tensor ", Quoted(name));
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets")) {
    return Bad(path,
               absl::StrCat(where, " is not described by exactly dtype, shape and data_offsets"));
  }
  if (!value["dtype"].is_string() ||
      SafetensorsElementBytes(value["dtype"].get<std::string>()) == 0) {
    return Bad(path, absl::StrCat(where, ": dtype ", Printable(DumpJson(value["dtype"]), 40),
                                  " is unknown"));
  }
  entry.dtype = value["dtype"].get<std::string>();
  RETORT_RETURN_IF_ERROR(ParseShape(value["shape"], path, &entry));
  RETORT_RETURN_IF_ERROR(ParseOffsets(value["data_offsets"], data_begin, file_bytes, path, &entry));
  header->entries.push_back(std::move(entry));
  return absl::OkStatus();
}

// Sorted by offset, each tensor must begin where the one before ended, and the last must end the
// file.
absl::Status CheckCoverage(const std::string& path, SafetensorsHeader* header) {
  std::stable_sort(header->entries.begin(), header->entries.end(),
                   [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                     return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
                   });
  int64_t expected = header->data_begin;
  for (const SafetensorsEntry& entry : header->entries) {
    if (entry.begin != expected) {
      return Bad(path,
                 absl::StrCat("tensor ", Quoted(entry.name), " begins at byte ", entry.begin,
                              entry.begin < expected ? " inside another tensor" : " after a hole",
                              ", expected ", expected));
    }
    expected = entry.end;
  }
  if (expected == header->file_bytes) return absl::OkStatus();
  return Bad(path, absl::StrCat(header->file_bytes - expected, " bytes after the last tensor"));
}

}  // namespace

const SafetensorsEntry* SafetensorsHeader::Find(absl::string_view name) const {
  for (const SafetensorsEntry& entry : entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

int64_t SafetensorsElementBytes(absl::string_view dtype) {
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "BF16" || dtype == "F16" || dtype == "I16" || dtype == "U16") return 2;
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "BOOL" || dtype == "U8" || dtype == "I8") return 1;
  if (dtype == "F8_E4M3" || dtype == "F8_E5M2") return 1;
  return 0;
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json, int64_t file_bytes,
                                                         const std::string& path) {
  if (json.empty() || json.front() != '{') return Bad(path, "the header does not start with '{'");
  RETORT_ASSIGN_OR_RETURN(const nlohmann::json root,
                          ParseSortedJson(json, absl::StrCat(path, ": header"), /*max_depth=*/3));
  if (!root.is_object()) return Bad(path, "the header is not a JSON object");
  if (root.size() > kMaxTensors + 1) {
    return Bad(path, absl::StrCat(root.size(), " tensors, at most ", kMaxTensors, " are read"));
  }
  SafetensorsHeader header;
  header.data_begin = kLengthBytes + static_cast<int64_t>(json.size());
  header.file_bytes = file_bytes;
  header.entries.reserve(root.size());
  for (const auto& [name, value] : root.items()) {
    if (name == kMetadataKey) {
      RETORT_RETURN_IF_ERROR(ParseMetadata(value, path, &header));
    } else {
      RETORT_RETURN_IF_ERROR(ParseEntry(name, value, header.data_begin, file_bytes, path, &header));
    }
  }
  RETORT_RETURN_IF_ERROR(CheckCoverage(path, &header));
  return header;
}

absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(int fd, const std::string& path) {
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoError(errno, path);
  if (!S_ISREG(info.st_mode)) return Bad(path, "not a regular file");
  const int64_t file_bytes = info.st_size;
  if (file_bytes < kLengthBytes + 2) {
    return absl::DataLossError(
        absl::StrCat(path, ": ", file_bytes, " bytes, too short for a safetensors file"));
  }
  unsigned char raw[kLengthBytes];
  RETORT_RETURN_IF_ERROR(ReadAt(fd, path, 0, kLengthBytes, raw));
  uint64_t header_bytes = 0;
  for (int i = kLengthBytes - 1; i >= 0; --i) header_bytes = header_bytes << 8 | raw[i];
  if (header_bytes > static_cast<uint64_t>(kMaxHeaderBytes)) {
    return Bad(path, absl::StrCat("header of ", header_bytes, " bytes, at most ", kMaxHeaderBytes,
                                  " are read"));
  }
  const int64_t size = static_cast<int64_t>(header_bytes);
  if (size > file_bytes - kLengthBytes) {
    return absl::DataLossError(absl::StrCat(path, ": header of ", size, " bytes in a file of ",
                                            file_bytes, "; the file was cut short"));
  }
  if (size > kTinyHeaderBytes && size > file_bytes / 4) {
    return Bad(path, absl::StrCat("header of ", size, " bytes is more than a quarter of the file"));
  }
  std::string json(size, '\0');
  RETORT_RETURN_IF_ERROR(ReadAt(fd, path, kLengthBytes, size, json.data()));
  return ParseSafetensorsHeader(json, file_bytes, path);
}

std::string EncodeSafetensorsHeader(const std::vector<SafetensorsSpec>& tensors,
                                    const std::map<std::string, std::string>& metadata) {
  nlohmann::json root = nlohmann::json::object();
  if (!metadata.empty()) root[kMetadataKey] = metadata;
  int64_t offset = 0;
  for (const SafetensorsSpec& tensor : tensors) {
    const int64_t begin = offset;
    int64_t bytes = SafetensorsElementBytes(tensor.dtype);
    RETORT_CHECK(bytes > 0) << "dtype " << tensor.dtype;
    for (const int64_t size : tensor.shape) bytes *= size;
    offset += bytes;
    const nlohmann::json described = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, offset}}};
    RETORT_CHECK(root.emplace(tensor.name, described).second)
        << "two tensors named " << tensor.name;
  }
  std::string json = DumpJson(root);
  while ((kLengthBytes + json.size()) % kDataAlignment != 0) json.push_back(' ');
  std::string out(kLengthBytes, '\0');
  for (int i = 0; i < kLengthBytes; ++i) out[i] = static_cast<char>(json.size() >> (8 * i));
  return out + json;
}

}  // namespace retort::layout
