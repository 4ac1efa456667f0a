#include "common/tensor/model_weights.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <bit>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/layout/weight_files.h"
#include "common/tensor/torch_process.h"
#include "common/tensor/weight_writer.h"

namespace retort::tensor {
namespace {

using layout::FileTensor;
using layout::LocatedTensor;
using layout::StoredAs;

constexpr int64_t kScratchElements = 1 << 19;
constexpr int64_t kFiniteBlock = 4096;
constexpr int64_t kTile = 16;  // A cache line of floats.

// The exponent of a number that is not finite is all ones, in the upper half of either type.
bool IsFinite(float value) {
  constexpr uint32_t kExponent = 0x7f800000;
  return (std::bit_cast<uint32_t>(value) & kExponent) != kExponent;
}
bool IsFinite(c10::BFloat16 value) { return (value.x & 0x7f80) != 0x7f80; }

// A block of a size that the compiler knows, without a way out of the loop: it becomes vector code.
template <typename Out>
bool AllFinite(const Out* block) {
  unsigned wrong = 0;
  for (int64_t i = 0; i < kFiniteBlock; ++i) wrong |= IsFinite(block[i]) ? 0u : 1u;
  return wrong == 0;
}

template <typename Out>
absl::Status CheckFinite(const LocatedTensor& at, int64_t first, const Out* data,
                         int64_t elements) {
  int64_t i = 0;
  while (i + kFiniteBlock <= elements && AllFinite(data + i)) i += kFiniteBlock;
  for (; i < elements; ++i) {
    if (IsFinite(data[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat(at.file->path, ": tensor ", at.entry->name,
                                                   " has ", data[i] != data[i] ? "NaN" : "infinity",
                                                   " at element ", first + i,
                                                   "; expected finite weights"));
  }
  return absl::OkStatus();
}

// Elements that are stored as `Stored`, to `Out`: widened, or rounded to the nearest, ties to even.
template <typename Stored, typename Out>
absl::Status ReadStored(const LocatedTensor& at, int64_t first, int64_t count, Out* out) {
  const int64_t begin = at.entry->begin + first * static_cast<int64_t>(sizeof(Stored));
  if constexpr (std::is_same_v<Stored, Out>) {
    return ReadAt(at.file->fd.get(), at.file->path, begin, count * sizeof(Stored), out);
  } else {
    std::vector<Stored> buffer(std::min<int64_t>(count, kScratchElements));
    for (int64_t done = 0; done < count;) {
      const int64_t part = std::min<int64_t>(buffer.size(), count - done);
      RETORT_RETURN_IF_ERROR(ReadAt(at.file->fd.get(), at.file->path,
                                    begin + done * static_cast<int64_t>(sizeof(Stored)),
                                    part * sizeof(Stored), buffer.data()));
      for (int64_t i = 0; i < part; ++i) {
        out[done + i] = static_cast<Out>(static_cast<float>(buffer[i]));
      }
      done += part;
    }
    return absl::OkStatus();
  }
}

// Elements [first, first + count) of a file's tensor, in the file's order.
template <typename Out>
absl::Status ReadElements(const LocatedTensor& at, int64_t first, int64_t count, Out* out) {
  if (at.entry->dtype == "F32") {
    RETORT_RETURN_IF_ERROR(ReadStored<float>(at, first, count, out));
  } else if (at.entry->dtype == "BF16") {
    RETORT_RETURN_IF_ERROR(ReadStored<c10::BFloat16>(at, first, count, out));
  } else {
    RETORT_RETURN_IF_ERROR(ReadStored<c10::Half>(at, first, count, out));
  }
  return CheckFinite(at, first, out, count);
}

// rows [count, width] into columns `first` .. first + count of out [width, in]. Through a tile, so
// that every cache line of either is touched once: lines a row apart displace each other.
template <typename Out>
void TransposeRows(const Out* rows, int64_t count, int64_t width, int64_t first, int64_t in,
                   Out* out) {
  Out tile[kTile][kTile];
  for (int64_t o = 0; o < width; o += kTile) {
    const int64_t columns = std::min(kTile, width - o);
    for (int64_t i = 0; i < count; i += kTile) {
      const int64_t lines = std::min(kTile, count - i);
      for (int64_t k = 0; k < lines; ++k) {
        std::copy_n(rows + (i + k) * width + o, columns, tile[k]);
      }
      for (int64_t c = 0; c < columns; ++c) {
        Out* const to = out + (o + c) * in + first + i;
        for (int64_t k = 0; k < lines; ++k) to[k] = tile[k][c];
      }
    }
  }
}

// [in, out] of the file into [out, in], some rows of the file at a time.
template <typename Out>
absl::Status ReadTransposed(const LocatedTensor& at, Out* out) {
  const int64_t in = at.part.shape[0], width = at.part.shape[1];
  const int64_t block = std::clamp<int64_t>(kScratchElements / width, 1, in);
  std::vector<Out> rows(block * width);
  for (int64_t first = 0; first < in; first += block) {
    const int64_t count = std::min(block, in - first);
    RETORT_RETURN_IF_ERROR(ReadElements(at, first * width, count * width, rows.data()));
    TransposeRows(rows.data(), count, width, first, in, out);
  }
  return absl::OkStatus();
}

template <typename Out>
absl::Status ReadRuns(const LocatedTensor& at, Out* out) {
  const int64_t run = at.part.elements() / (at.part.outer * at.part.inner);
  for (int64_t i = 0; i < at.part.outer; ++i) {
    for (int64_t j = 0; j < at.part.inner; ++j) {
      RETORT_RETURN_IF_ERROR(ReadElements(at, (i * at.part.inner + j) * run, run,
                                          out + (j * at.part.outer + i) * run));
    }
  }
  return absl::OkStatus();
}

template <typename Out>
absl::Status ReadPart(const LocatedTensor& at, Out* out) {
  switch (at.part.stored) {
    case StoredAs::kSame:
      return ReadElements(at, 0, at.part.elements(), out);
    case StoredAs::kTransposed:
      return ReadTransposed(at, out);
    case StoredAs::kRuns:
      return ReadRuns(at, out);
  }
  RETORT_CHECK(false) << "stored as " << static_cast<int>(at.part.stored);
}

absl::Status ReadParts(const layout::ResolvedWeights& resolved, ParameterArena* arena) {
  const bool wide = arena->type() == at::kFloat;
  for (const LocatedTensor& at : resolved.tensors) {
    RETORT_RETURN_IF_ERROR(
        wide ? ReadPart(at, arena->data() + at.part.offset)
             : ReadPart(at, arena->flat().data_ptr<c10::BFloat16>() + at.part.offset));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LoadModelWeights(const std::string& folder, ParameterArena* arena) {
  RETORT_ASSIGN_OR_RETURN(const layout::ResolvedWeights resolved,
                          layout::ResolveWeights(folder, arena->layout()));
  return ReadParts(resolved, arena);
}

absl::Status LoadAdapterWeights(const std::string& folder, ParameterArena* arena) {
  RETORT_ASSIGN_OR_RETURN(const layout::ResolvedWeights resolved,
                          layout::ResolveAdapter(folder, arena->layout()));
  return ReadParts(resolved, arena);
}

absl::StatusOr<ParameterArena> ReadModelArena(const std::string& folder,
                                              layout::ParameterLayout layout, at::ScalarType type) {
  RETORT_ASSIGN_OR_RETURN(const layout::ResolvedWeights resolved,
                          layout::ResolveWeights(folder, layout));
  RETORT_ASSIGN_OR_RETURN(ParameterArena arena, ParameterArena::Allocate(std::move(layout), type));
  RETORT_RETURN_IF_ERROR(ReadParts(resolved, &arena));
  return arena;
}

absl::StatusOr<ParameterArena> ReadAdapterArena(const std::string& folder,
                                                layout::ParameterLayout layout) {
  RETORT_ASSIGN_OR_RETURN(const layout::ResolvedWeights resolved,
                          layout::ResolveAdapter(folder, layout));
  RETORT_ASSIGN_OR_RETURN(ParameterArena arena, ParameterArena::Allocate(std::move(layout)));
  RETORT_RETURN_IF_ERROR(ReadParts(resolved, &arena));
  return arena;
}

at::Tensor FileTensorOf(const ParameterArena& arena, const FileTensor& part) {
  const at::Tensor flat = arena.flat().narrow(0, part.offset, part.elements());
  switch (part.stored) {
    case StoredAs::kSame:
      return flat.view(part.shape);
    case StoredAs::kTransposed:
      return flat.view({part.shape[1], part.shape[0]}).t().contiguous();
    case StoredAs::kRuns:
      return flat.view({part.inner, part.outer, -1}).transpose(0, 1).reshape(part.shape);
  }
  RETORT_CHECK(false) << "stored as " << static_cast<int>(part.stored);
}

absl::StatusOr<at::Tensor> ReadFileTensor(const LocatedTensor& at) {
  RETORT_ASSIGN_OR_RETURN(at::Tensor out,
                          CatchTorch([&] { return at::empty(at.part.shape, at::kFloat); }));
  RETORT_RETURN_IF_ERROR(ReadElements(at, 0, at.part.elements(), out.data_ptr<float>()));
  return out;
}

absl::Status WriteModelWeights(const std::string& folder, const ParameterArena& arena) {
  return WriteWeightFile(absl::StrCat(folder, "/model.safetensors"), OutgoingTensors(arena, "F32"));
}

absl::Status WriteAdapterWeights(const std::string& folder, const ParameterArena& arena) {
  return WriteWeightFile(absl::StrCat(folder, "/adapter_model.safetensors"),
                         OutgoingTensors(arena, "F32"));
}

}  // namespace retort::tensor
