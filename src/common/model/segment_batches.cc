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
  std::vector<int64_t> counts;  // Of padded, padding and slots of every batch in turn, then places.

  void Add(absl::Span<const int64_t> part) {
    values.insert(values.end(), part.begin(), part.end());
    counts.push_back(static_cast<int64_t>(part.size()));
  }
};

// Adds those of one batch, and notes the places of its rows, of which `first` is the first.
void AddBatch(absl::Span<const Segment> segments, int64_t first, Indices* indices,
              std::vector<int64_t>* places) {
  const int64_t length = segments.back().length;
  std::vector<int64_t> padded, padding, slots;
  for (const Segment& segment : segments) {
    for (int64_t i = 0; i < length; ++i) {
      const int64_t row = segment.first + std::min(i, segment.length - 1);
      if (i < segment.length) {
        (*places)[row] = first + static_cast<int64_t>(slots.size());
        slots.push_back(static_cast<int64_t>(padded.size()));
      }
      padded.push_back(row);
      padding.push_back(i < segment.length ? 0 : 1);
    }
  }
  indices->Add(padded);
  indices->Add(padding);
  indices->Add(slots);
}

// The parts of `indices` on `device`.
std::vector<at::Tensor> Uploaded(const Indices& indices, const at::Device& device) {
  const at::Tensor all = tensor::Upload(at::tensor(indices.values, at::kLong), device);
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (const int64_t count : indices.counts) {
    parts.push_back(all.narrow(0, begin, count));
    begin += count;
  }
  return parts;
}

}  // namespace

SegmentPlan BatchSegments(const std::vector<int64_t>& offsets, const SegmentLimits& limits,
                          const at::Device& device) {
  const std::vector<Segment> segments = Sorted(offsets);
  SegmentPlan plan;
  Indices indices;
  std::vector<int64_t> places(offsets.back());
  int64_t rows = 0;
  for (size_t first = 0; first < segments.size();) {
    size_t count = 1;
    while (first + count < segments.size() &&
           Fits(absl::MakeConstSpan(segments).subspan(first, count + 1), limits)) {
      ++count;
    }
    const auto together = absl::MakeConstSpan(segments).subspan(first, count);
    plan.batches.push_back({static_cast<int64_t>(count), together.back().length, {}, {}, {}});
    AddBatch(together, rows, &indices, &places);
    rows += indices.counts.back();
    first += count;
  }
  indices.Add(places);
  const std::vector<at::Tensor> parts = Uploaded(indices, device);
  for (size_t i = 0; i < plan.batches.size(); ++i) {
    SegmentBatch& batch = plan.batches[i];
    batch.padded = parts[3 * i];
    batch.padding = parts[3 * i + 1].to(at::kBool);
    batch.slots = parts[3 * i + 2];
  }
  plan.places = parts.back();
  return plan;
}

}  // namespace retort::model
