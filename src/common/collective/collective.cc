#include "common/collective/collective.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tensor/torch_process.h"

namespace retort::collective {
namespace {

constexpr int64_t kMaxVariableBytes = int64_t{1} << 30;

absl::StatusOr<ElementType> TypeOf(const at::Tensor& tensor, absl::string_view operation) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ElementType::kFloat32;
    case at::kDouble:
      return ElementType::kFloat64;
    case at::kLong:
      return ElementType::kInt64;
    default:
      return absl::InvalidArgumentError(absl::StrCat(operation, ": dtype ",
                                                     at::toString(tensor.scalar_type()),
                                                     "; expected float32, float64 or int64"));
  }
}

// Of the type of `like`, and where it is.
absl::StatusOr<at::Tensor> NewTensor(at::IntArrayRef shape, const at::Tensor& like) {
  try {
    return at::empty(shape, like.options());
  } catch (const std::exception& error) {  // No memory: the text says how many bytes.
    return absl::ResourceExhaustedError(error.what());
  }
}

}  // namespace

int64_t ElementBytes(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return 4;
    case ElementType::kFloat64:
    case ElementType::kInt64:
      return 8;
    case ElementType::kByte:
      return 1;
  }
  return 1;
}

absl::StatusOr<Collective::Checked> Collective::Check(const at::Tensor& tensor,
                                                      absl::string_view operation) const {
  if (!tensor.defined()) {
    return absl::InvalidArgumentError(absl::StrCat(operation, ": the tensor is undefined"));
  }
  if (tensor.layout() != at::kStrided || !tensor.is_contiguous()) {
    return absl::InvalidArgumentError(
        absl::StrCat(operation, ": expected a contiguous tensor; call contiguous() first"));
  }
  const bool on_device = OnDevice(tensor);
  if (!on_device && !tensor.device().is_cpu()) {
    return absl::InvalidArgumentError(
        absl::StrCat(operation, ": the tensor is on ", tensor.device().str(),
                     ", where this group does not reduce; copy it to the CPU first"));
  }
  RETORT_ASSIGN_OR_RETURN(const ElementType type, TypeOf(tensor, operation));
  return Checked{type, on_device ? Memory::kDevice : Memory::kHost};
}

absl::Status Collective::AllReduceSum(const at::Tensor& tensor) {
  RETORT_ASSIGN_OR_RETURN(const Checked checked, Check(tensor, "all_reduce"));
  return ReduceInPlace(tensor.data_ptr(), tensor.numel(), checked.type, checked.memory);
}

absl::Status Collective::StartAllReduceSum(const at::Tensor& tensor) {
  RETORT_ASSIGN_OR_RETURN(const Checked checked, Check(tensor, "all_reduce"));
  return StartReduce(tensor.data_ptr(), tensor.numel(), checked.type, checked.memory);
}

absl::StatusOr<at::Tensor> Collective::AllGather(const at::Tensor& tensor) {
  RETORT_ASSIGN_OR_RETURN(const Checked checked, Check(tensor, "all_gather"));
  std::vector<int64_t> shape = tensor.sizes().vec();
  shape.insert(shape.begin(), world_size());
  RETORT_ASSIGN_OR_RETURN(at::Tensor out, NewTensor(shape, tensor));
  RETORT_RETURN_IF_ERROR(Gather(tensor.data_ptr(), static_cast<int64_t>(tensor.nbytes()),
                                out.data_ptr(), checked.memory));
  return out;
}

absl::StatusOr<std::vector<at::Tensor>> Collective::AllGatherRows(const at::Tensor& tensor) {
  RETORT_RETURN_IF_ERROR(Check(tensor, "all_gather_rows").status());
  if (tensor.dim() < 1) {
    return absl::InvalidArgumentError("all_gather_rows: a 0-d tensor has no rows");
  }
  if (!tensor.device().is_cpu()) return AllGatherRowsOfDevice(tensor);
  const auto* const data = static_cast<const char*>(tensor.data_ptr());
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                          AllGatherVariable(absl::string_view(data, tensor.nbytes())));
  int64_t row_bytes = static_cast<int64_t>(tensor.itemsize());
  for (int64_t d = 1; d < tensor.dim(); ++d) row_bytes *= tensor.size(d);
  std::vector<at::Tensor> rows;
  for (const std::string& part : parts) {
    const auto part_bytes = static_cast<int64_t>(part.size());
    if (row_bytes == 0 ? part_bytes != 0 : part_bytes % row_bytes != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("all_gather_rows: rank ", rows.size(), " sent ", part_bytes,
                       " bytes, no multiple of this rank's rows of ", row_bytes, " bytes"));
    }
    std::vector<int64_t> shape = tensor.sizes().vec();
    shape[0] = row_bytes == 0 ? 0 : part_bytes / row_bytes;
    RETORT_ASSIGN_OR_RETURN(at::Tensor out, NewTensor(shape, tensor));
    if (part_bytes > 0) std::memcpy(out.data_ptr(), part.data(), part.size());
    rows.push_back(std::move(out));
  }
  return rows;
}

// Rows are few and small: they go through the host.
absl::StatusOr<std::vector<at::Tensor>> Collective::AllGatherRowsOfDevice(
    const at::Tensor& tensor) {
  at::Tensor rows;
  RETORT_RETURN_IF_ERROR(tensor::CatchTorch([&] { rows = tensor.cpu(); }));
  RETORT_ASSIGN_OR_RETURN(std::vector<at::Tensor> all, AllGatherRows(rows));
  RETORT_RETURN_IF_ERROR(tensor::CatchTorch([&] {
    for (at::Tensor& part : all) part = part.to(tensor.device());
  }));
  return all;
}

absl::StatusOr<std::vector<std::string>> Collective::AllGatherVariable(absl::string_view bytes) {
  const auto own_bytes = static_cast<int64_t>(bytes.size());
  if (own_bytes > kMaxVariableBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("all_gather_variable: ", own_bytes, " bytes; at most ", kMaxVariableBytes));
  }
  std::vector<int64_t> sizes(world_size());
  RETORT_RETURN_IF_ERROR(Gather(&own_bytes, sizeof(own_bytes), sizes.data(), Memory::kHost));
  const int64_t longest = *std::max_element(sizes.begin(), sizes.end());
  // Padded to the longest: one transfer whatever the ranks hold.
  std::string mine(bytes);
  mine.resize(longest);
  std::string all(longest * world_size(), '\0');
  RETORT_RETURN_IF_ERROR(Gather(mine.data(), longest, all.data(), Memory::kHost));
  std::vector<std::string> parts;
  for (int r = 0; r < world_size(); ++r) parts.push_back(all.substr(r * longest, sizes[r]));
  return parts;
}

absl::Status Collective::Broadcast(const at::Tensor& tensor, int root) {
  RETORT_ASSIGN_OR_RETURN(const Checked checked, Check(tensor, "broadcast"));
  if (root < 0 || root >= world_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("broadcast: root ", root, "; expected 0 to ", world_size() - 1));
  }
  return BroadcastBytes(tensor.data_ptr(), static_cast<int64_t>(tensor.nbytes()), root,
                        checked.memory);
}

}  // namespace retort::collective
