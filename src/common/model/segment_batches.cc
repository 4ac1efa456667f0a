#include "common/model/segment_batches.h"

#include <algorithm>

#include "absl/types/span.h"
#include "common/tensor/upload.h"

namespace retort::model {
namespace {

constexpr int64_t kShort = 64;  // What is as short may be padded freely.

struct Segment {
  int64_t first = 0;
  int64_t length = 0;
};

// By length, and by place among equals.
std::vector<Segment> Sorted(const std::vector<int64_t>& offsets) {
  std::vector<Segment> segments;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    const int64_t length = offsets[s + 1] - offsets[s];
    if (length > 0) segments.push_back({offsets[s], length});
  }
  std::stable_sort(segments.begin(), segments.end(),
                   [](const Segment& a, const Segment& b) { return a.length < b.length; });
  return segments;
}

// Whether the segments may be one batch. The last is the longest.
bool Fits(absl::Span<const Segment> segments, const SegmentLimits& limits) {
  const int64_t length = segments.back().length;
  const int64_t slots = static_cast<int64_t>(segments.size()) * length;
  int64_t rows = 0;
  for (const Segment& segment : segments) rows += segment.length;
  return length <= limits.length && slots * length <= limits.pairs &&
         (length <= kShort || 4 * slots <= 5 * rows);
}

// One array on the host, which goes to the device at once, and what lies where in it.
struct Indices {
  std::vector<int64_t> values;
  std::vector<int64_t> counts;  // Of padded, slots and rows of every batch in turn.

  void Add(absl::Span<const int64_t> part) {
    values.insert(values.end(), part.begin(), part.end());
    counts.push_back(static_cast<int64_t>(part.size()));
  }
};

void AddIndices(absl::Span<const Segment> segments, Indices* indices) {
  const int64_t length = segments.back().length;
  std::vector<int64_t> padded, slots, rows;
  for (const Segment& segment : segments) {
    for (int64_t i = 0; i < length; ++i) {
      const int64_t row = segment.first + std::min(i, segment.length - 1);
      if (i < segment.length) {
        slots.push_back(static_cast<int64_t>(padded.size()));
        rows.push_back(row);
      }
      padded.push_back(row);
    }
  }
  indices->Add(padded);
  indices->Add(slots);
  indices->Add(rows);
}

}  // namespace

std::vector<SegmentBatch> BatchSegments(const std::vector<int64_t>& offsets,
                                        const SegmentLimits& limits, const at::Device& device) {
  const std::vector<Segment> segments = Sorted(offsets);
  std::vector<SegmentBatch> batches;
  Indices indices;
  for (size_t first = 0; first < segments.size();) {
    size_t count = 1;
    while (first + count < segments.size() &&
           Fits(absl::MakeConstSpan(segments).subspan(first, count + 1), limits)) {
      ++count;
    }
    const auto together = absl::MakeConstSpan(segments).subspan(first, count);
    SegmentBatch& batch = batches.emplace_back();
    batch.segments = static_cast<int64_t>(count);
    batch.length = together.back().length;
    AddIndices(together, &indices);
    first += count;
  }
  const at::Tensor all = tensor::Upload(at::tensor(indices.values, at::kLong), device);
  int64_t begin = 0;
  for (size_t i = 0; i < indices.counts.size(); ++i) {
    SegmentBatch& batch = batches[i / 3];
    at::Tensor* const parts[] = {&batch.padded, &batch.slots, &batch.rows};
    *parts[i % 3] = all.narrow(0, begin, indices.counts[i]);
    begin += indices.counts[i];
  }
  return batches;
}

}  // namespace retort::model
