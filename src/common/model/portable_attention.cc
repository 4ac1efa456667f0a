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

// The rows of one segment by head. G = heads / kv_heads queries share a key.
struct Segment {
  at::Tensor q;  // [kv_heads, G, T, head_dim], rotated
  at::Tensor k;  // [kv_heads, T, head_dim], rotated
  at::Tensor v;  // [kv_heads, T, head_dim]
};

// Queries [begin, end) of a segment, which see keys [first, end) at most.
struct Chunk {
  int64_t first, begin, end;

  int64_t queries() const { return end - begin; }
  int64_t keys() const { return end - first; }
};

std::vector<Chunk> ChunksOf(const AttentionShape& shape, const AttentionRule& rule,
                            int64_t length) {
  const int64_t span = rule.window == 0 ? length : std::min(length, rule.window + kMaxQueries);
  const int64_t most = std::clamp(kScoreElements / (shape.heads * std::max<int64_t>(1, span)),
                                  kMinQueries, kMaxQueries);
  std::vector<Chunk> chunks;
  for (int64_t begin = 0; begin < length; begin += most) {
    chunks.push_back({rule.first_key(begin), begin, std::min(length, begin + most)});
  }
  return chunks;
}

// q, k and v of all rows by head, q and k rotated: [N, heads or kv_heads, head_dim].
struct Heads {
  at::Tensor q, k, v;
};

Heads HeadsOf(const AttentionTensors& in, const at::Tensor& cos, const at::Tensor& sin) {
  const AttentionShape& s = in.shape;
  const int64_t rows = in.qkv.size(0);
  const auto part = [&](int64_t begin, int64_t heads) {
    return in.qkv.narrow(1, begin, heads * s.head_dim).view({rows, heads, s.head_dim});
  };
  return {Rotate(in.rule, part(0, s.heads), cos, sin, 1),
          Rotate(in.rule, part(s.q_width(), s.kv_heads), cos, sin, 1),
          part(s.q_width() + s.kv_width(), s.kv_heads)};
}

// Rows [first, first + length) of x [N, heads, head_dim] as [kv_heads, G, T, head_dim].
at::Tensor GroupedRows(const AttentionShape& s, const at::Tensor& x, int64_t first,
                       int64_t length) {
  return x.narrow(0, first, length)
      .view({length, s.kv_heads, s.heads / s.kv_heads, s.head_dim})
      .permute({1, 2, 0, 3});
}

Segment SegmentOf(const AttentionShape& s, const Heads& heads, int64_t first, int64_t length) {
  const auto rows = [&](const at::Tensor& x) {
    return x.narrow(0, first, length).transpose(0, 1).contiguous();
  };
  return {GroupedRows(s, heads.q, first, length), rows(heads.k), rows(heads.v)};
}

// A chunk of x [kv_heads, G, T, width] as one matrix a key-value head: [kv_heads, G * C, width].
at::Tensor Stacked(const at::Tensor& x, const Chunk& chunk) {
  return x.narrow(2, chunk.begin, chunk.queries()).reshape({x.size(0), -1, x.size(3)});
}

// True where query begin + i does not see key first + j: [C, K].
at::Tensor Unseen(const AttentionRule& rule, const Chunk& chunk, const at::Device& device) {
  const at::TensorOptions longs = at::TensorOptions().dtype(at::kLong).device(device);
  const at::Tensor query = at::arange(chunk.begin, chunk.end, longs).unsqueeze(1);
  const at::Tensor key = at::arange(chunk.first, chunk.end, longs).unsqueeze(0);
  const at::Tensor later = key > query;
  return rule.window == 0 ? later : later.logical_or(key <= query - rule.window);
}

// Scores of a chunk [kv_heads, G * C, K], scaled and capped; -inf where the query does not see the
// key.
at::Tensor Scores(const AttentionRule& rule, const Segment& segment, const Chunk& chunk) {
  const at::Tensor keys = segment.k.narrow(1, chunk.first, chunk.keys());
  at::Tensor scores = MultiplyToFp32(Stacked(segment.q, chunk), keys.transpose(1, 2));
  scores.mul_(rule.scale);
  if (rule.soft_cap > 0) scores.div_(rule.soft_cap).tanh_().mul_(rule.soft_cap);
  scores.view({scores.size(0), -1, chunk.queries(), chunk.keys()})
      .masked_fill_(Unseen(rule, chunk, scores.device()), -std::numeric_limits<double>::infinity());
  return scores;
}

// [kv_heads, G * C, width] -> rows [C, heads, width].
at::Tensor RowsOf(const AttentionShape& s, const at::Tensor& stacked, int64_t queries) {
  return stacked.view({s.kv_heads, s.heads / s.kv_heads, queries, -1})
      .permute({2, 0, 1, 3})
      .reshape({queries, s.heads, -1});
}

struct Angles {
  at::Tensor cos, sin;  // [N, rotary_dim / 2]
};

Angles AnglesOf(const AttentionTensors& in) {
  if (in.rule.rotary_dim == 0) return {};
  return {in.angles.cos.index_select(0, in.positions), in.angles.sin.index_select(0, in.positions)};
}

// What backward knows of one segment besides it; derivatives are added up in fp32.
struct SegmentGradients {
  at::Tensor out, dout;  // [kv_heads, G, T, head_dim]
  at::Tensor lse;        // [kv_heads, G, T, 1]
  at::Tensor dk, dv;     // [kv_heads, T, head_dim] fp32
};

// Adds to dk and dv; returns dq of the chunk [kv_heads, G * C, head_dim].
at::Tensor ChunkBackward(const AttentionRule& rule, const Segment& segment, const Chunk& chunk,
                         SegmentGradients* g) {
  const at::ScalarType type = segment.q.scalar_type();
  const at::Tensor scores = Scores(rule, segment, chunk);
  const at::Tensor p = (scores - Stacked(g->lse, chunk)).exp_();
  const at::Tensor dout = Stacked(g->dout, chunk), out = Stacked(g->out, chunk);
  const at::Tensor delta = (dout.to(at::kFloat) * out.to(at::kFloat)).sum(-1, /*keepdim=*/true);
  const auto seen = [&](const at::Tensor& x) { return x.narrow(1, chunk.first, chunk.keys()); };
  seen(g->dv).add_(MultiplyToFp32(p.to(type).transpose(1, 2), dout));
  at::Tensor ds = MultiplyToFp32(dout, seen(segment.v).transpose(1, 2));
  ds.sub_(delta).mul_(p).mul_(rule.scale);
  if (rule.soft_cap > 0) {
    // Unseen scores are -inf, where p is 0: 0 * inf must be 0.
    const at::Tensor ratio = scores.div(rule.soft_cap).clamp_min_(-1);
    ds.mul_(1 - ratio.square_());
  }
  const at::Tensor narrow = ds.to(type);
  seen(g->dk).add_(MultiplyToFp32(narrow.transpose(1, 2), Stacked(segment.q, chunk)));
  return MultiplyToFp32(narrow, seen(segment.k));
}

}  // namespace

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

AttentionOutput AttentionForward(const AttentionTensors& in) {
  const AttentionShape& s = in.shape;
  const int64_t rows = in.qkv.size(0);
  const at::ScalarType type = in.qkv.scalar_type();
  AttentionOutput result{at::empty({rows, s.q_width()}, in.qkv.options()),
                         at::empty({rows, s.heads}, in.qkv.options().dtype(at::kFloat))};
  const Angles angles = AnglesOf(in);
  const Heads heads = HeadsOf(in, angles.cos, angles.sin);
  for (size_t i = 0; i + 1 < in.offsets.size(); ++i) {
    const int64_t first = in.offsets[i], length = in.offsets[i + 1] - first;
    if (length == 0) continue;
    const Segment segment = SegmentOf(s, heads, first, length);
    for (const Chunk& chunk : ChunksOf(s, in.rule, length)) {
      at::Tensor scores = Scores(in.rule, segment, chunk);
      const at::Tensor lse = scores.logsumexp({-1}, /*keepdim=*/true);
      const at::Tensor p = scores.sub_(lse).exp_().to(type);
      const at::Tensor out = p.bmm(segment.v.narrow(1, chunk.first, chunk.keys()));
      const int64_t at = first + chunk.begin, queries = chunk.queries();
      result.out.narrow(0, at, queries).view({queries, s.heads, -1}).copy_(RowsOf(s, out, queries));
      result.lse.narrow(0, at, queries).copy_(RowsOf(s, lse, queries).squeeze(2));
    }
  }
  return result;
}

at::Tensor AttentionBackward(const AttentionTensors& in, const AttentionOutput& forward,
                             const at::Tensor& dout) {
  const AttentionShape& s = in.shape;
  const int64_t rows = in.qkv.size(0);
  const Angles angles = AnglesOf(in);
  const Heads heads = HeadsOf(in, angles.cos, angles.sin);
  const at::TensorOptions wide = in.qkv.options().dtype(at::kFloat);
  const at::Tensor dq = at::empty({rows, s.heads, s.head_dim}, wide);
  const at::Tensor dk = at::empty({rows, s.kv_heads, s.head_dim}, wide);
  const at::Tensor dv = at::empty({rows, s.kv_heads, s.head_dim}, wide);
  const auto by_head = [&](const at::Tensor& x) { return x.view({rows, s.heads, -1}); };
  for (size_t i = 0; i + 1 < in.offsets.size(); ++i) {
    const int64_t first = in.offsets[i], length = in.offsets[i + 1] - first;
    if (length == 0) continue;
    const Segment segment = SegmentOf(s, heads, first, length);
    SegmentGradients g{GroupedRows(s, by_head(forward.out), first, length),
                       GroupedRows(s, by_head(dout), first, length),
                       forward.lse.narrow(0, first, length)
                           .view({length, s.kv_heads, s.heads / s.kv_heads, 1})
                           .permute({1, 2, 0, 3}),
                       at::zeros({s.kv_heads, length, s.head_dim}, wide),
                       at::zeros({s.kv_heads, length, s.head_dim}, wide)};
    for (const Chunk& chunk : ChunksOf(s, in.rule, length)) {
      const at::Tensor part = ChunkBackward(in.rule, segment, chunk, &g);
      dq.narrow(0, first + chunk.begin, chunk.queries()).copy_(RowsOf(s, part, chunk.queries()));
    }
    dk.narrow(0, first, length).copy_(g.dk.transpose(0, 1));
    dv.narrow(0, first, length).copy_(g.dv.transpose(0, 1));
  }
  const auto flat = [rows](const at::Tensor& x) { return x.reshape({rows, -1}); };
  return tensor::Cat({flat(Rotate(in.rule, dq, angles.cos, angles.sin, -1)),
                      flat(Rotate(in.rule, dk, angles.cos, angles.sin, -1)), flat(dv)},
                     1)
      .to(in.qkv.scalar_type());
}

}  // namespace retort::model::portable
