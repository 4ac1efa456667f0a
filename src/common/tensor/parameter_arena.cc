#include "common/tensor/parameter_arena.h"

#include <sys/mman.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/tensor/torch_process.h"

namespace retort::tensor {
namespace {

constexpr int64_t kMappedBytes = 8 << 20;  // What is smaller comes from the heap.

// Zeros that take memory where they are first touched, in huge pages: reading a file of 1 GB into
// them faults 500 times and writes every byte once; into at::zeros 250,000 times, and twice.
absl::StatusOr<std::shared_ptr<void>> MapZeros(int64_t bytes) {
  void* const data =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for ", bytes, " bytes of parameters; use a smaller model"));
  }
  madvise(data, bytes, MADV_HUGEPAGE);  // A kernel without them says no, which changes nothing.
  return std::shared_ptr<void>(data, [bytes](void* mapped) { munmap(mapped, bytes); });
}

}  // namespace

ParameterArena::ParameterArena(std::shared_ptr<const layout::ParameterLayout> layout,
                               at::Tensor flat)
    : layout_(std::move(layout)), flat_(std::move(flat)) {}

absl::StatusOr<ParameterArena> ParameterArena::Allocate(layout::ParameterLayout layout,
                                                        at::ScalarType type,
                                                        const at::Device& device) {
  const int64_t elements = layout.total_elements;
  const int64_t bytes = elements * static_cast<int64_t>(c10::elementSize(type));
  if (bytes < kMappedBytes || !device.is_cpu()) {
    return CatchTorch([&] {
      return Wrap(std::move(layout),
                  at::zeros({elements}, at::TensorOptions().dtype(type).device(device)));
    });
  }
  RETORT_ASSIGN_OR_RETURN(std::shared_ptr<void> zeros, MapZeros(bytes));
  return CatchTorch([&] {
    void* const data = zeros.get();
    const at::Tensor flat = at::from_blob(
        data, {elements}, [zeros = std::move(zeros)](void*) mutable { zeros.reset(); },
        at::TensorOptions().dtype(type));
    return Wrap(std::move(layout), flat);
  });
}

ParameterArena ParameterArena::Borrow(layout::ParameterLayout layout, float* data,
                                      std::shared_ptr<const void> owner) {
  const int64_t elements = layout.total_elements;
  at::Tensor flat = at::from_blob(
      data, {elements}, [owner = std::move(owner)](void*) mutable { owner.reset(); },
      at::TensorOptions().dtype(at::kFloat));
  return Wrap(std::move(layout), flat);
}

ParameterArena ParameterArena::Wrap(layout::ParameterLayout layout, const at::Tensor& flat) {
  const bool known = flat.scalar_type() == at::kFloat || flat.scalar_type() == at::kBFloat16;
  RETORT_CHECK(flat.is_contiguous() && known && flat.dim() == 1 &&
               flat.numel() >= layout.total_elements)
      << "an arena needs a flat fp32 or bf16 tensor of " << layout.total_elements << " elements";
  RETORT_CHECK(reinterpret_cast<uintptr_t>(flat.data_ptr()) % 64 == 0) << "unaligned arena";
  const int64_t elements = layout.total_elements;
  return ParameterArena(std::make_shared<const layout::ParameterLayout>(std::move(layout)),
                        flat.narrow(0, 0, elements));
}

float* ParameterArena::data() const {
  RETORT_CHECK(type() == at::kFloat && flat_.is_cpu())
      << "an arena of " << at::toString(type()) << " on " << device().str()
      << " as fp32 of the CPU";
  return flat_.data_ptr<float>();
}

absl::StatusOr<ParameterArena> ParameterArena::CopyTo(const at::Device& device,
                                                      at::ScalarType type) const {
  RETORT_ASSIGN_OR_RETURN(ParameterArena copy, Allocate(*layout_, type, device));
  RETORT_RETURN_IF_ERROR(CatchTorch([&] { copy.CopyFrom(*this); }));
  return copy;
}

absl::StatusOr<ParameterArena> ParameterArena::On(const at::Device& device,
                                                  at::ScalarType wanted) const {
  if (flat_.device() == device && type() == wanted) return *this;
  return CopyTo(device, wanted);
}

void ParameterArena::CopyFrom(const ParameterArena& other) const {
  RETORT_CHECK(other.layout().total_elements == layout_->total_elements) << "another layout";
  const at::NoGradGuard no_grad;
  flat_.copy_(other.flat());
}

at::Tensor ParameterArena::View(const layout::ParameterEntry& entry) const {
  return flat_.narrow(0, entry.offset, entry.elements).view(entry.shape);
}

at::Tensor ParameterArena::Range(const layout::ParameterRange& range) const {
  return flat_.narrow(0, range.begin, range.size());
}

at::Tensor ParameterArena::Published() const {
  return flat_.narrow(0, 0, layout_->published_elements);
}

absl::Span<const float> ParameterArena::PublishedSpan() const {
  return absl::MakeConstSpan(data(), layout_->published_elements);
}

void InitializeRandom(uint64_t seed, double std, ParameterArena* arena, RngPurpose purpose) {
  float* data = arena->data();
  std::fill(data, data + arena->layout().total_elements, 0.0f);
  uint64_t index = 0;
  for (const layout::ParameterEntry& entry : arena->layout().entries) {
    CounterRng rng(seed, purpose, index++);
    float* begin = data + entry.offset;
    switch (entry.init) {
      case layout::ParameterInit::kZero:
        break;
      case layout::ParameterInit::kOne:
        std::fill(begin, begin + entry.elements, 1.0f);
        break;
      case layout::ParameterInit::kNormal:
        for (int64_t i = 0; i < entry.elements; ++i) {
          begin[i] = static_cast<float>(std * rng.NextNormal());
        }
        break;
      case layout::ParameterInit::kFanInUniform: {
        const double bound = 1.0 / std::sqrt(static_cast<double>(entry.shape[1]));
        for (int64_t i = 0; i < entry.elements; ++i) {
          begin[i] = static_cast<float>(bound * (2.0 * rng.NextUniform() - 1.0));
        }
        break;
      }
    }
  }
}

}  // namespace retort::tensor
