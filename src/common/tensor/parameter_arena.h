// All parameters of a model in one flat buffer over a ParameterLayout, on any device. Gradients and
// optimizer state are arenas too. The only owner of parameters: models hold views. Elements are
// fp32, or bf16 for a model that is only run or has masters: everything that trains, publishes or
// writes files wants fp32. Files are read into an arena on the CPU.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/rng.h"
#include "common/layout/parameter_layout.h"
#include "common/tensor/aten.h"

namespace retort::tensor {

// Movable and cheap to copy: copies share the buffer. Not thread-safe as to its contents.
class ParameterArena {
 public:
  // Own memory, 64-byte aligned, all zero. RESOURCE_EXHAUSTED when it cannot be had.
  static absl::StatusOr<ParameterArena> Allocate(layout::ParameterLayout layout,
                                                 at::ScalarType type = at::kFloat,
                                                 const at::Device& device = at::kCPU);

  // Memory of someone else (a ring slot, shared memory): layout.total_elements floats at `data`,
  // 64-byte aligned. `owner` is kept until the last view is gone; it may be null when the caller
  // sees to that itself. A read-only mapping is fine for an arena that is only read.
  static ParameterArena Borrow(layout::ParameterLayout layout, float* data,
                               std::shared_ptr<const void> owner);

  // An arena over a flat fp32 or bf16 contiguous tensor of at least layout.total_elements, 64-byte
  // aligned, on any device.
  static ParameterArena Wrap(layout::ParameterLayout layout, const at::Tensor& flat);

  const layout::ParameterLayout& layout() const { return *layout_; }
  const at::Tensor& flat() const { return flat_; }  // [total_elements]
  at::ScalarType type() const { return flat_.scalar_type(); }
  at::Device device() const { return flat_.device(); }
  float* data() const;  // Of fp32 on the CPU.

  // A new arena of the same layout with these values, rounded to the nearest if `type` is bf16.
  // Errors: those of Allocate, and what CatchTorch gives.
  absl::StatusOr<ParameterArena> CopyTo(const at::Device& device, at::ScalarType type) const;
  absl::StatusOr<ParameterArena> CopyTo(const at::Device& device) const {
    return CopyTo(device, type());
  }
  // This arena if it lies there in that type, else a copy.
  absl::StatusOr<ParameterArena> On(const at::Device& device, at::ScalarType type) const;
  // Takes over the values of an arena of the same layout (CHECKed by size), of any type and device.
  // Throws what LibTorch throws.
  void CopyFrom(const ParameterArena& other) const;

  at::Tensor View(const layout::ParameterEntry& entry) const;   // entry.shape
  at::Tensor Range(const layout::ParameterRange& range) const;  // [range.size()]
  at::Tensor Published() const;                                 // [published_elements]
  absl::Span<const float> PublishedSpan() const;                // Of fp32 on the CPU.

 private:
  ParameterArena(std::shared_ptr<const layout::ParameterLayout> layout, at::Tensor flat);

  std::shared_ptr<const layout::ParameterLayout> layout_;
  at::Tensor flat_;
};

// Random start, by ParameterInit: every kNormal entry from N(0, std^2); padding 0. Entry j (in
// layout order) draws from CounterRng(seed, purpose, j): an adapter has a purpose of its own, or it
// would repeat the numbers of the model below it.
void InitializeRandom(uint64_t seed, double std, ParameterArena* arena,
                      RngPurpose purpose = RngPurpose::kInit);

}  // namespace retort::tensor
