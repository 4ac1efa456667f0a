// The logits of a language model's head, tile by tile. Internal to vocab_head*.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "common/model/packed_gemm.h"
#include "common/model/row_linear.h"
#include "common/model/vocab_head.h"

namespace retort::model {

// Ids whose weights are packed at once, and of them the ids of one tile of logits.
inline constexpr int64_t kPackedIds = 2048;
inline constexpr int64_t kTileIds = 512;

// Rows that one thread takes: a function of the number of rows alone.
int64_t RowsPerTask(int64_t rows);

// Floats between rows of a buffer of `ids` columns: never a multiple of 4 KiB, which would put a
// column's elements into the same cache sets.
int64_t TileStride(int64_t ids);

// Plain pointers of a call.
struct HeadView {
  const float* hidden;
  int64_t rows, width;
  WeightMatrix weight;
  const float* bias;  // May be null.
  int64_t limit;      // Ids that are computed.
  const std::vector<int64_t>* excluded;
  float scale;  // 1 / temperature
  float cap;
};

// fp32 weights of ids [first, first + count), [count, width]: the head's own, or widened into
// `scratch`.
const float* WideRows(const HeadView& view, int64_t first, int64_t count,
                      std::vector<float>* scratch);

// CHECKs what vocab_head.h asks of the arguments of a call; the number of ids that are computed.
int64_t CheckHead(const at::Tensor& hidden, const HeadWeights& head, const HeadOptions& options);

// int64, one a row and each in [0, limit); the values of another device are not looked at.
void CheckTargets(const at::Tensor& targets, int64_t rows, int64_t limit);

// Of tensors on the CPU.
HeadView ViewOf(const at::Tensor& hidden, const HeadWeights& head, const HeadOptions& options);

// The logits of rows [row, row + rows) and ids [first, first + count), with bias and cap, -inf
// where excluded, into tile [rows, stride]. `packed` holds the weights of ids from `packed_first`.
void FillTile(const HeadView& view, const PackedColumns& packed, int64_t packed_first, int64_t row,
              int64_t rows, int64_t first, int64_t count, float* tile, int64_t stride,
              GemmScratch* scratch);

}  // namespace retort::model
