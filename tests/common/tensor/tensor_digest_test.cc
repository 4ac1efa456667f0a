#include "common/tensor/tensor_digest.h"

#include <cmath>

#include "gtest/gtest.h"
#include "testing/pretend_device.h"

namespace retort::tensor {
namespace {

constexpr int64_t kBlock = int64_t{1} << 18;

Digest Of(const at::Tensor& tensor) {
  Hasher hasher;
  HashTensor(tensor, &hasher);
  return hasher.Finish();
}

TEST(TensorDigestTest, OnTheCpu_TheBytes) {
  const at::Tensor tensor = at::arange(1000, at::kFloat);
  EXPECT_EQ(Of(tensor), DigestOf(tensor.const_data_ptr(), tensor.nbytes()));
}

TEST(TensorDigestTest, OnADevice_EveryBitAndPlaceCounts) {
  for (const int64_t size : {int64_t{0}, int64_t{1}, kBlock, kBlock + 1, 2 * kBlock + 777}) {
    const at::Tensor host = at::randn({size}, at::kFloat);
    const Digest want = Of(host.to(pretend::Device()));
    EXPECT_EQ(Of(host.clone().to(pretend::Device())), want) << size;
    const auto changed = [&](auto&& change) {
      const at::Tensor other = host.clone();
      change(other);
      return Of(other.to(pretend::Device()));
    };
    EXPECT_NE(Of(at::zeros({size + 1}, host.options()).to(pretend::Device())), want);
    for (const int64_t at : {int64_t{0}, size / 2, size - 1}) {
      if (size == 0) break;
      EXPECT_NE(changed([&](const at::Tensor& t) { t.view(at::kInt)[at].bitwise_xor_(1); }), want)
          << size << " " << at;
    }
    if (size < 2) continue;
    // Zeros of either sign, equal numbers in other places.
    EXPECT_NE(changed([&](const at::Tensor& t) { t.copy_(t.roll(1)); }), want) << size;
  }
}

TEST(TensorDigestTest, OnADevice_NotANumber_IsBitsToo) {
  const at::Tensor nan = at::full({10}, std::nanf(""), at::kFloat).to(pretend::Device());
  EXPECT_EQ(Of(nan), Of(nan.clone()));
  EXPECT_NE(Of(nan), Of(at::zeros({10}, at::kFloat).to(pretend::Device())));
}

}  // namespace
}  // namespace retort::tensor
