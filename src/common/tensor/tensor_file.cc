#include "common/tensor/tensor_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"

namespace retort::tensor {
namespace {

struct DtypeName {
  const char* name;
  at::ScalarType type;
};

constexpr DtypeName kDtypes[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf},  {"BF16", at::kBFloat16},
    {"I64", at::kLong},   {"I32", at::kInt},   {"I16", at::kShort}, {"I8", at::kChar},
    {"U8", at::kByte},    {"BOOL", at::kBool},
};

// An open file that counts and hashes what it is given.
class HashedFile {
 public:
  HashedFile(int fd, const std::string& path) : fd_(fd), path_(path) {}

  absl::Status Append(const void* data, int64_t size) {
    hasher_.Update(data, size);
    bytes_ += size;
    return WriteAll(fd_, absl::string_view(static_cast<const char*>(data), size), path_);
  }

  WrittenFile Summary() const { return {bytes_, hasher_.Finish()}; }

 private:
  const int fd_;
  const std::string& path_;
  Hasher hasher_;
  int64_t bytes_ = 0;
};

absl::Status WriteTensors(int fd, const std::string& path, const std::string& header,
                          const TensorMap& tensors, WrittenFile* written) {
  HashedFile file(fd, path);
  RETORT_RETURN_IF_ERROR(file.Append(header.data(), static_cast<int64_t>(header.size())));
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor bytes = tensor.detach().contiguous();
    if (bytes.numel() == 0) continue;
    RETORT_RETURN_IF_ERROR(
        file.Append(bytes.const_data_ptr(), static_cast<int64_t>(bytes.nbytes())));
  }
  if (fsync(fd) != 0) return ErrnoError(errno, absl::StrCat(path, ": fsync"));
  if (written != nullptr) *written = file.Summary();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<at::ScalarType> ScalarTypeOf(const std::string& safetensors_dtype) {
  for (const DtypeName& dtype : kDtypes) {
    if (safetensors_dtype == dtype.name) return dtype.type;
  }
  return absl::InvalidArgumentError(absl::StrCat("dtype ", safetensors_dtype, " is not read here"));
}

absl::StatusOr<std::string> SafetensorsDtypeOf(at::ScalarType type) {
  for (const DtypeName& dtype : kDtypes) {
    if (type == dtype.type) return std::string(dtype.name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("dtype ", at::toString(type), " is not written here"));
}

absl::Status ReadEntry(int fd, const std::string& path, const layout::SafetensorsEntry& entry,
                       at::Tensor out) {
  const int64_t bytes = entry.end - entry.begin;
  RETORT_ASSIGN_OR_RETURN(const at::ScalarType type, ScalarTypeOf(entry.dtype));
  if (out.scalar_type() != type || !out.is_contiguous() || out.numel() != entry.elements) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": tensor \"", Printable(entry.name), "\" is ", entry.dtype, " with ", entry.elements,
        " elements; expected ", out.numel(), " of ", at::toString(out.scalar_type())));
  }
  if (bytes == 0) return absl::OkStatus();
  RETORT_RETURN_IF_ERROR(ReadAt(fd, path, entry.begin, bytes, out.data_ptr()));
  if (type != at::kBool) return absl::OkStatus();
  const uint8_t* raw = static_cast<const uint8_t*>(out.data_ptr());
  if (std::all_of(raw, raw + bytes, [](uint8_t byte) { return byte <= 1; }))
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", Printable(entry.name),
                                                 "\": a BOOL byte is neither 0 nor 1"));
}

absl::StatusOr<TensorMap> ReadTensorFile(const std::string& path, int64_t max_bytes) {
  RETORT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenRegularFile(path));
  RETORT_ASSIGN_OR_RETURN(const layout::SafetensorsHeader header,
                          layout::ReadSafetensorsHeader(fd.get(), path));
  if (header.file_bytes > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": ", header.file_bytes, " bytes, at most ", max_bytes, " are read"));
  }
  TensorMap tensors;
  for (const layout::SafetensorsEntry& entry : header.entries) {
    const absl::StatusOr<at::ScalarType> type = ScalarTypeOf(entry.dtype);
    if (!type.ok()) {
      return WithContext(type.status(),
                         absl::StrCat(path, ": tensor \"", Printable(entry.name), "\""));
    }
    at::Tensor out = at::empty(entry.shape, at::TensorOptions(*type));
    RETORT_RETURN_IF_ERROR(ReadEntry(fd.get(), path, entry, out));
    tensors.emplace(entry.name, std::move(out));
  }
  return tensors;
}

absl::Status WriteTensorFile(const std::string& path, const TensorMap& tensors,
                             const std::map<std::string, std::string>& metadata,
                             WrittenFile* written) {
  std::vector<layout::SafetensorsSpec> specs;
  for (const auto& [name, tensor] : tensors) {
    RETORT_ASSIGN_OR_RETURN(std::string dtype, SafetensorsDtypeOf(tensor.scalar_type()));
    specs.push_back({name, std::move(dtype), tensor.sizes().vec()});
  }
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return ErrnoError(errno, path);
  const std::string header = layout::EncodeSafetensorsHeader(specs, metadata);
  absl::Status status = WriteTensors(fd.get(), path, header, tensors, written);
  if (status.ok() && close(fd.Release()) != 0) {
    status = ErrnoError(errno, absl::StrCat(path, ": close"));
  }
  if (!status.ok()) unlink(path.c_str());  // A full disk should not stay full of half a file.
  return status;
}

}  // namespace retort::tensor
