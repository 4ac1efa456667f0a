#include "common/model/portable_attention.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/model/portable_matmul.h"
#include "common/tensor/cat.h"

namespace retort::model::portable {
namespace {

constexpr int64_t kScoreElements = int64_t{1} << 25;  // Scores at once: 128 MiB.
constexpr int64_t kMinQueries = 16;
constexpr int64_t kMaxQueries = 1024;

// q, k and v of the slots of a batch by head, q and k rotated. B is segments * kv_heads, G = heads
// / kv_heads queries share a key.
struct Heads {
  at::Tensor q;     // [B, G, T, head_dim]
  at::Tensor k, v;  // [B, T, head_dim]
};

// Queries [begin, end) of every segment, which see keys [first, end) at most.
struct Chunk {
  int64_t first, begin, end;

  int64_t queries() const { return end - begin; }
  int64_t keys() const { return end - first; }
};

std::vector<Chunk> ChunksOf(const AttentionShape& shape, const AttentionRule& rule,
                            const SegmentBatch& batch) {
  const int64_t length = batch.length;
  const int64_t span = rule.window == 0 ? length : std::min(length, rule.window + kMaxQueries);
  const int64_t most =
      std::clamp(kScoreElements / (batch.segments * shape.heads * span), kMinQueries, kMaxQueries);
  std::vector<Chunk> chunks;
  for (int64_t begin = 0; begin < length; begin += most) {
    chunks.push_back({rule.first_key(begin), begin, std::min(length, begin + most)});
  }
  return chunks;
}

// Slots x [segments * T, kv_heads * G, width] -> [B, G, T, width].
at::Tensor ByHead(const AttentionShape& s, const SegmentBatch& batch, const at::Tensor& x) {
  return x.view({batch.segments, batch.length, s.kv_heads, -1, x.size(2)})
      .permute({0, 2, 3, 1, 4})
      .reshape({batch.segments * s.kv_heads, -1, batch.length, x.size(2)});
}

// x [B, G, T, width] -> rows [R, kv_heads * G, width], without padding.
at::Tensor Rows(const AttentionShape& s, const SegmentBatch& batch, const at::Tensor& x) {
  return x.view({batch.segments, s.kv_heads, -1, batch.length, x.size(3)})
      .permute({0, 3, 1, 2, 4})
      .reshape({batch.segments * batch.length, -1, x.size(3)})
      .index_select(0, batch.slots);
}

// The same of rows x [N, heads, width] of the pack. Padding is a copy of the last row, which is as
// finite as the rest.
at::Tensor Padded(const AttentionShape& s, const SegmentBatch& batch, const at::Tensor& x) {
  return ByHead(s, batch, x.index_select(0, batch.padded));
}

// Padding is 0: queries that are none add nothing to a derivative.
at::Tensor ZeroPadded(const AttentionShape& s, const SegmentBatch& batch, const at::Tensor& x) {
  const at::Tensor slots = x.index_select(0, batch.padded);
  return ByHead(s, batch, slots.masked_fill_(batch.padding.view({-1, 1, 1}), 0));
}

// Rows of every batch in turn as rows of the pack.
at::Tensor InOrder(const SegmentPlan& plan, at::TensorList batches) {
  return tensor::Cat(batches).index_select(0, plan.places);
}

// q, k and v of all rows, q and k rotated: [N, heads or kv_heads, head_dim].
struct RotatedRows {
  at::Tensor q, k, v;
};

RotatedRows RotatedRowsOf(const AttentionTensors& in, const at::Tensor& cos,
                          const at::Tensor& sin) {
  const AttentionShape& s = in.shape;
  const int64_t turned = s.heads + s.kv_heads;
  const at::Tensor all = in.qkv.view({in.qkv.size(0), turned + s.kv_heads, s.head_dim});
  const at::Tensor rotated = Rotate(in.rule, all.narrow(1, 0, turned), cos, sin, 1);
  return {rotated.narrow(1, 0, s.heads), rotated.narrow(1, s.heads, s.kv_heads),
          all.narrow(1, turned, s.kv_heads)};
}

Heads HeadsOf(const AttentionShape& s, const SegmentBatch& batch, const RotatedRows& rows) {
  return {Padded(s, batch, rows.q), Padded(s, batch, rows.k).squeeze(1),
          Padded(s, batch, rows.v).squeeze(1)};
}

// A chunk of x [B, G, T, width] as one matrix for each of B: [B, G * C, width].
at::Tensor Stacked(const at::Tensor& x, const Chunk& chunk) {
  return x.narrow(2, chunk.begin, chunk.queries()).reshape({x.size(0), -1, x.size(3)});
}

// True where query begin + i does not see key first + j: [C, K]. A padded key lies behind every
// query that counts.
at::Tensor Unseen(const AttentionRule& rule, const Chunk& chunk, const at::Device& device) {
  const at::TensorOptions longs = at::TensorOptions().dtype(at::kLong).device(device);
  const at::Tensor query = at::arange(chunk.begin, chunk.end, longs).unsqueeze(1);
  const at::Tensor key = at::arange(chunk.first, chunk.end, longs).unsqueeze(0);
  const at::Tensor later = key > query;
  return rule.window == 0 ? later : later.logical_or(key <= query - rule.window);
}

// Scores of a chunk [B, G * C, K], scaled and capped; -inf where the query does not see the key.
at::Tensor Scores(const AttentionRule& rule, const Heads& heads, const Chunk& chunk) {
  const at::Tensor scores =
      CappedScores(rule, Stacked(heads.q, chunk), heads.k.narrow(1, chunk.first, chunk.keys()));
  scores.view({scores.size(0), -1, chunk.queries(), chunk.keys()})
      .masked_fill_(Unseen(rule, chunk, scores.device()), -std::numeric_limits<double>::infinity());
  return scores;
}

struct Angles {
  at::Tensor cos, sin;  // [N, rotary_dim / 2]
};

Angles AnglesOf(const AttentionTensors& in) {
  if (in.rule.rotary_dim == 0) return {};
  return {in.angles.cos.index_select(0, in.positions), in.angles.sin.index_select(0, in.positions)};
}

// What backward knows of a batch besides its heads; derivatives are added up in fp32.
struct Gradients {
  at::Tensor out, dout, dq;  // [B, G, T, head_dim]
  at::Tensor lse;            // [B, G, T, 1]
  at::Tensor dk, dv;         // [B, T, head_dim]
};

// Writes dq of the chunk, adds to dk and dv.
void ChunkBackward(const AttentionRule& rule, const Heads& heads, const Chunk& chunk,
                   Gradients* g) {
  const at::ScalarType type = heads.q.scalar_type();
  const at::Tensor scores = Scores(rule, heads, chunk);
  const at::Tensor p = (scores - Stacked(g->lse, chunk)).exp_();
  const at::Tensor dout = Stacked(g->dout, chunk), out = Stacked(g->out, chunk);
  const at::Tensor delta = (dout.to(at::kFloat) * out.to(at::kFloat)).sum(-1, /*keepdim=*/true);
  const auto seen = [&](const at::Tensor& x) { return x.narrow(1, chunk.first, chunk.keys()); };
  seen(g->dv).add_(MultiplyToFp32(p.to(type).transpose(1, 2), dout));
  at::Tensor ds = MultiplyToFp32(dout, seen(heads.v).transpose(1, 2));
  ds.sub_(delta).mul_(p).mul_(rule.scale);
  if (rule.soft_cap > 0) {
    // Unseen scores are -inf, where p is 0: 0 * inf must be 0.
    const at::Tensor ratio = scores.div(rule.soft_cap).clamp_min_(-1);
    ds.mul_(1 - ratio.square_());
  }
  const at::Tensor narrow = ds.to(type);
  seen(g->dk).add_(MultiplyToFp32(narrow.transpose(1, 2), Stacked(heads.q, chunk)));
  const at::Tensor dq = g->dq.narrow(2, chunk.begin, chunk.queries());
  dq.copy_(MultiplyToFp32(narrow, seen(heads.k)).view(dq.sizes()));
}

}  // namespace

at::Tensor CappedScores(const AttentionRule& rule, const at::Tensor& q, const at::Tensor& k) {
  at::Tensor scores = MultiplyToFp32(q, k.transpose(1, 2)).mul_(rule.scale);
  if (rule.soft_cap > 0) scores.div_(rule.soft_cap).tanh_().mul_(rule.soft_cap);
  return scores;
}

at::Tensor Rotate(const AttentionRule& rule, const at::Tensor& x, const at::Tensor& cos,
                  const at::Tensor& sin, double direction) {
  const int64_t dim = rule.rotary_dim, half = dim / 2, rest = x.size(2) - dim;
  if (dim == 0) return x;
  const at::Tensor wide = x.narrow(2, 0, dim).to(at::kFloat);
  const at::Tensor c = cos.unsqueeze(1);
  const at::Tensor s = direction < 0 ? sin.neg().unsqueeze(1) : sin.unsqueeze(1);
  at::Tensor rotated;
  if (rule.interleaved) {
    const at::Tensor pairs = wide.reshape({x.size(0), x.size(1), half, 2});
    const at::Tensor a = pairs.select(3, 0), b = pairs.select(3, 1);
    rotated = at::stack({a * c - b * s, b * c + a * s}, 3).view({x.size(0), x.size(1), dim});
  } else {
    const at::Tensor a = wide.narrow(2, 0, half), b = wide.narrow(2, half, half);
    rotated = tensor::Cat({a * c - b * s, b * c + a * s}, 2);
  }
  rotated = rotated.to(x.scalar_type());
  return rest == 0 ? rotated : tensor::Cat({rotated, x.narrow(2, dim, rest)}, 2);
}

SegmentPlan PlanSegments(const AttentionShape& shape, const std::vector<int64_t>& offsets,
                         const at::Device& device) {
  return BatchSegments(offsets, {.pairs = kScoreElements / shape.heads, .length = kMaxQueries},
                       device);
}

AttentionOutput AttentionForward(const AttentionTensors& in) {
  const AttentionShape& s = in.shape;
  const at::ScalarType type = in.qkv.scalar_type();
  const at::TensorOptions options = in.qkv.options();
  std::vector<at::Tensor> outs, lses;
  const Angles angles = AnglesOf(in);
  const RotatedRows rotated = RotatedRowsOf(in, angles.cos, angles.sin);
  for (const SegmentBatch& batch : in.plan->batches) {
    const Heads heads = HeadsOf(s, batch, rotated);
    const at::Tensor out = at::empty(heads.q.sizes(), options);
    const at::Tensor lse =
        at::empty({heads.q.size(0), heads.q.size(1), batch.length, 1}, options.dtype(at::kFloat));
    for (const Chunk& chunk : ChunksOf(s, in.rule, batch)) {
      at::Tensor scores = Scores(in.rule, heads, chunk);
      const at::Tensor sum = scores.logsumexp({-1}, /*keepdim=*/true);
      const at::Tensor p = scores.sub_(sum).exp_().to(type);
      const at::Tensor to = out.narrow(2, chunk.begin, chunk.queries());
      to.copy_(p.bmm(heads.v.narrow(1, chunk.first, chunk.keys())).view(to.sizes()));
      const at::Tensor lse_to = lse.narrow(2, chunk.begin, chunk.queries());
      lse_to.copy_(sum.view(lse_to.sizes()));
    }
    outs.push_back(Rows(s, batch, out).flatten(1));
    lses.push_back(Rows(s, batch, lse).squeeze(2));
  }
  return {InOrder(*in.plan, outs), InOrder(*in.plan, lses)};
}

at::Tensor AttentionBackward(const AttentionTensors& in, const AttentionOutput& forward,
                             const at::Tensor& dout) {
  const AttentionShape& s = in.shape;
  const int64_t rows = in.qkv.size(0);
  const Angles angles = AnglesOf(in);
  const RotatedRows rotated = RotatedRowsOf(in, angles.cos, angles.sin);
  const at::TensorOptions wide = in.qkv.options().dtype(at::kFloat);
  std::vector<at::Tensor> parts;
  const auto by_head = [&](const at::Tensor& x) { return x.view({rows, s.heads, s.head_dim}); };
  for (const SegmentBatch& batch : in.plan->batches) {
    const Heads heads = HeadsOf(s, batch, rotated);
    Gradients g{Padded(s, batch, by_head(forward.out)), ZeroPadded(s, batch, by_head(dout)),
                at::empty(heads.q.sizes(), wide),       Padded(s, batch, forward.lse.unsqueeze(2)),
                at::zeros(heads.k.sizes(), wide),       at::zeros(heads.v.sizes(), wide)};
    for (const Chunk& chunk : ChunksOf(s, in.rule, batch)) {
      ChunkBackward(in.rule, heads, chunk, &g);
    }
    parts.push_back(tensor::Cat({Rows(s, batch, g.dq), Rows(s, batch, g.dk.unsqueeze(1)),
                                 Rows(s, batch, g.dv.unsqueeze(1))},
                                1));
  }
  const at::Tensor dqkv = InOrder(*in.plan, parts);  // [N, heads + 2 * kv_heads, head_dim]
  const int64_t turned = s.heads + s.kv_heads;
  return tensor::Cat({Rotate(in.rule, dqkv.narrow(1, 0, turned), angles.cos, angles.sin, -1),
                      dqkv.narrow(1, turned, s.kv_heads)},
                     1)
      .view({rows, s.qkv_width()})
      .to(in.qkv.scalar_type());
}

}  // namespace retort::model::portable
