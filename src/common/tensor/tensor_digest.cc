#include "common/tensor/tensor_digest.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/rng.h"

namespace retort::tensor {
namespace {

constexpr int64_t kBlock = int64_t{1} << 18;
constexpr int64_t kSums = 2;

// [kSums, kBlock] odd numbers, always the same ones.
at::Tensor Multipliers() {
  CounterRng rng(/*seed=*/0, RngPurpose::kData, /*a=*/0);
  at::Tensor numbers = at::empty({kSums, kBlock}, at::kLong);
  int64_t* const data = numbers.mutable_data_ptr<int64_t>();
  std::generate(data, data + kSums * kBlock,
                [&rng] { return static_cast<int64_t>(rng.NextU64() | 1); });
  return numbers;
}

// [kSums] of one block of bits, [m] int32 with m <= kBlock. Integers wrap, so the order does not
// matter.
at::Tensor SumsOf(const at::Tensor& bits, const at::Tensor& multipliers) {
  return (multipliers.narrow(1, 0, bits.size(0)) * bits.to(at::kLong)).sum(1);
}

}  // namespace

void HashTensor(const at::Tensor& flat, Hasher* hasher) {
  RETORT_CHECK(flat.scalar_type() == at::kFloat && flat.dim() == 1 && flat.is_contiguous())
      << "a digest is of a flat fp32 tensor";
  const int64_t n = flat.size(0);
  if (flat.is_cpu()) {
    hasher->Update(flat.const_data_ptr<float>(), static_cast<size_t>(n) * sizeof(float));
    return;
  }
  const at::NoGradGuard no_grad;
  const at::Tensor bits = flat.view(at::kInt);
  const at::Tensor multipliers = Multipliers().to(flat.device());
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  at::Tensor sums = at::zeros({blocks, kSums}, multipliers.options());
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = block * kBlock;
    sums[block].copy_(SumsOf(bits.narrow(0, begin, std::min(kBlock, n - begin)), multipliers));
  }
  const at::Tensor host = sums.cpu();
  hasher->Update(&n, sizeof(n));
  hasher->Update(host.const_data_ptr<int64_t>(),
                 static_cast<size_t>(host.numel()) * sizeof(int64_t));
}

}  // namespace retort::tensor
