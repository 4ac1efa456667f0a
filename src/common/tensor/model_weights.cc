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

// Elements [first, first + count) of a tensor in its file's order: the share of one thread at a
// time.
struct Piece {
  const LocatedTensor* at;
  int64_t first, count;
};

// What a piece of the tensor has a whole number of: a row of a transposed matrix, or a run.
int64_t PieceUnit(const FileTensor& part) {
  switch (part.stored) {
    case StoredAs::kSame:
      return 1;
    case StoredAs::kTransposed:
      return part.shape[1];
    case StoredAs::kRuns:
      return part.elements() / (part.outer * part.inner);
  }
  RETORT_CHECK(false) << "stored as " << static_cast<int>(part.stored);
}

std::vector<Piece> PiecesOf(const layout::ResolvedWeights& resolved) {
  std::vector<Piece> pieces;
  for (const LocatedTensor& at : resolved.tensors) {
    const int64_t unit = std::max<int64_t>(1, PieceUnit(at.part)), elements = at.part.elements();
    const int64_t most = std::max<int64_t>(1, kScratchElements / unit) * unit;
    for (int64_t first = 0; first < elements; first += most) {
      pieces.push_back({&at, first, std::min(most, elements - first)});
    }
  }
  return pieces;
}

// Some rows of the file's [in, out] into columns of [out, in]. `rows` is scratch of one thread.
template <typename Out>
absl::Status ReadTransposed(const Piece& piece, Out* out, std::vector<Out>* rows) {
  const int64_t in = piece.at->part.shape[0], width = piece.at->part.shape[1];
  if (static_cast<int64_t>(rows->size()) < piece.count) rows->resize(piece.count);
  RETORT_RETURN_IF_ERROR(ReadElements(*piece.at, piece.first, piece.count, rows->data()));
  TransposeRows(rows->data(), piece.count / width, width, piece.first / width, in, out);
  return absl::OkStatus();
}

// The file has runs in the order [outer, inner], the arena [inner, outer].
template <typename Out>
absl::Status ReadRuns(const Piece& piece, Out* out) {
  const FileTensor& part = piece.at->part;
  const int64_t run = PieceUnit(part);
  for (int64_t first = piece.first; first < piece.first + piece.count; first += run) {
    const int64_t i = first / run / part.inner, j = first / run % part.inner;
    RETORT_RETURN_IF_ERROR(ReadElements(*piece.at, first, run, out + (j * part.outer + i) * run));
  }
  return absl::OkStatus();
}

// `out` is where the whole tensor begins.
template <typename Out>
absl::Status ReadPiece(const Piece& piece, Out* out, std::vector<Out>* scratch) {
  switch (piece.at->part.stored) {
    case StoredAs::kSame:
      return ReadElements(*piece.at, piece.first, piece.count, out + piece.first);
    case StoredAs::kTransposed:
      return ReadTransposed(piece, out, scratch);
    case StoredAs::kRuns:
      return ReadRuns(piece, out);
  }
  RETORT_CHECK(false) << "stored as " << static_cast<int>(piece.at->part.stored);
}

// Of several errors the first in the order of the tensors is told.
template <typename Out>
absl::Status ReadPieces(const std::vector<Piece>& pieces, Out* arena) {
  const int64_t count = static_cast<int64_t>(pieces.size());
  std::vector<absl::Status> read(count);
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    std::vector<Out> scratch;
    for (int64_t i = begin; i < end; ++i) {
      read[i] = ReadPiece(pieces[i], arena + pieces[i].at->part.offset, &scratch);
      if (!read[i].ok()) return;
    }
  });
  for (const absl::Status& status : read) RETORT_RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

absl::Status ReadParts(const layout::ResolvedWeights& resolved, ParameterArena* arena) {
  RETORT_CHECK(arena->device().is_cpu()) << "weights are read into an arena on the CPU";
  const std::vector<Piece> pieces = PiecesOf(resolved);
  if (arena->type() == at::kFloat) return ReadPieces(pieces, arena->data());
  return ReadPieces(pieces, arena->flat().data_ptr<c10::BFloat16>());
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
