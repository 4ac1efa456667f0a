// The sum of the gradients over the ranks. Where the collective overlaps (NCCL), the arena is cut
// into buckets, and the sum of a bucket begins as soon as the last micro-batch's backward has
// completed its gradients; elsewhere the arena is summed at once, after the backward.
//
// Buckets and the order of their sums follow from the layout alone, so neither bits nor the order
// of operations depend on timing or on which rank has micro-batches. The order is roughly that in
// which a backward pass completes gradients: matrices from the last layer to the first, then the
// rest.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "common/layout/parameter_layout.h"
#include "worker/learner/trained_model.h"

namespace retort::worker {

// 32 MiB: large enough for full speed between GPUs, small enough that the last one, which nothing
// hides, costs little.
inline constexpr int64_t kBucketElements = int64_t{8} << 20;

// The buckets of a layout, in the order of their sums; together they are [0, total_elements).
std::vector<layout::ParameterRange> BucketsOf(const layout::ParameterLayout& layout,
                                              int64_t bucket_elements);

// For each update, on every rank alike:
//   ExpectLastBackward, before the last micro-batch's backward; not on a rank that has none
//   LaunchRest, after it and before any other operation of the group
//   Reduce, or Discard
// Not thread-safe; autograd may call OnGradient from its own thread while `backward` runs.
class GradientBuckets {
 public:
  // Both outlive it. At most one for a model at a time.
  GradientBuckets(TrainedModel* model, collective::Collective* group,
                  int64_t bucket_elements = kBucketElements);
  ~GradientBuckets();
  GradientBuckets(const GradientBuckets&) = delete;
  GradientBuckets& operator=(const GradientBuckets&) = delete;

  void ExpectLastBackward();
  // Begins the sums that have not begun. Errors: the collective's.
  absl::Status LaunchRest();
  // Returns when the model's gradients are the sums over all ranks.
  absl::Status Reduce();
  // The gradients are not wanted: leaves them unspecified, and nothing writes to them any more.
  absl::Status Discard();

  // The gradient of entry `entry` of the layout is complete.
  void OnGradient(size_t entry);

 private:
  struct Bucket {
    layout::ParameterRange range;
    int64_t entries = 0;  // That have elements in it.
    int64_t open = 0;     // Those of which the gradient is not complete.
  };

  void Launch();

  TrainedModel& model_;
  collective::Collective& group_;
  std::vector<Bucket> buckets_;  // Empty where the collective does not overlap.
  std::vector<std::vector<size_t>> buckets_of_entry_;
  size_t next_ = 0;  // The bucket that is launched next.
  bool expecting_ = false;
  absl::Status status_;
};

}  // namespace retort::worker
