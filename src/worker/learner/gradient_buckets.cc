#include "worker/learner/gradient_buckets.h"

#include <algorithm>
#include <memory>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "torch/csrc/autograd/function_hook.h"
#include "torch/csrc/autograd/variable.h"

namespace retort::worker {
namespace {

// The last piece of [begin, end) first; each but the last in the arena is whole.
void CutFromTheEnd(int64_t begin, int64_t end, int64_t bucket_elements,
                   std::vector<layout::ParameterRange>* buckets) {
  const int64_t pieces = (end - begin + bucket_elements - 1) / bucket_elements;
  for (int64_t i = pieces - 1; i >= 0; --i) {
    const int64_t first = begin + i * bucket_elements;
    buckets->push_back({first, std::min(end, first + bucket_elements)});
  }
}

class GradientHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  GradientHook(GradientBuckets* buckets, size_t entry) : buckets_(*buckets), entry_(entry) {}
  void operator()(const torch::autograd::Variable&) override { buckets_.OnGradient(entry_); }

 private:
  GradientBuckets& buckets_;
  const size_t entry_;
};

}  // namespace

std::vector<layout::ParameterRange> BucketsOf(const layout::ParameterLayout& layout,
                                              int64_t bucket_elements) {
  std::vector<layout::ParameterRange> buckets;
  // Norms and biases of all layers lie together, behind the matrices: complete at the very end.
  CutFromTheEnd(layout.decay.begin, layout.decay.end, bucket_elements, &buckets);
  CutFromTheEnd(layout.decay.end, layout.total_elements, bucket_elements, &buckets);
  return buckets;
}

GradientBuckets::GradientBuckets(TrainedModel* model, collective::Collective* group,
                                 int64_t bucket_elements)
    : model_(*model), group_(*group) {
  if (!group_.overlaps()) return;
  for (const layout::ParameterRange& range : BucketsOf(model_.layout(), bucket_elements)) {
    buckets_.push_back({range});
  }
  const std::vector<layout::ParameterEntry>& entries = model_.layout().entries;
  buckets_of_entry_.resize(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    for (size_t b = 0; b < buckets_.size(); ++b) {
      const layout::ParameterRange& range = buckets_[b].range;
      if (entries[i].offset >= range.end ||
          entries[i].offset + entries[i].elements <= range.begin) {
        continue;
      }
      buckets_of_entry_[i].push_back(b);
      ++buckets_[b].entries;
    }
    torch::autograd::impl::set_post_acc_grad_hooks(model_.model.leaves()[i],
                                                   std::make_unique<GradientHook>(this, i));
  }
}

GradientBuckets::~GradientBuckets() {
  if (next_ != 0) {  // The gradients' memory may go next.
    group_.Abort("the update was given up");
    group_.WaitAll().IgnoreError();
  }
  for (size_t i = 0; i < buckets_of_entry_.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(model_.model.leaves()[i], nullptr);
  }
}

void GradientBuckets::ExpectLastBackward() {
  RETORT_CHECK(next_ == 0) << "the update before was neither reduced nor discarded";
  for (Bucket& bucket : buckets_) bucket.open = bucket.entries;
  expecting_ = !buckets_.empty();
}

void GradientBuckets::OnGradient(size_t entry) {
  if (!expecting_) return;
  for (const size_t bucket : buckets_of_entry_[entry]) --buckets_[bucket].open;
  while (next_ < buckets_.size() && buckets_[next_].open == 0) Launch();
}

void GradientBuckets::Launch() {
  const layout::ParameterRange& range = buckets_[next_++].range;
  if (!status_.ok()) return;  // Thrown through autograd it would lose its code.
  status_ = group_.StartAllReduceSum(model_.gradients.Range(range));
}

absl::Status GradientBuckets::LaunchRest() {
  expecting_ = false;
  while (next_ < buckets_.size()) Launch();
  return status_;
}

absl::Status GradientBuckets::Reduce() {
  if (buckets_.empty()) return group_.AllReduceSum(model_.gradients.flat());
  RETORT_CHECK(next_ == buckets_.size()) << "LaunchRest comes before";
  return Discard();
}

absl::Status GradientBuckets::Discard() {
  next_ = 0;
  RETORT_RETURN_IF_ERROR(status_);
  return group_.WaitAll();
}

}  // namespace retort::worker
