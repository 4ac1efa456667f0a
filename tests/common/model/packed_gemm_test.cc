#include "common/model/packed_gemm.h"

#include "common/model/composite.h"
#include "common/tensor/torch_process.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

MatrixView View(const at::Tensor& t) {
  return {t.const_data_ptr<float>(), t.stride(0), t.stride(1)};
}

at::Tensor Product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& start) {
  PackedColumns packed;
  packed.Pack(View(b), b.size(0), b.size(1));
  GemmScratch scratch;
  at::Tensor c = start.defined() ? start.clone() : at::full({a.size(0), b.size(1)}, NAN);
  MultiplyPacked(View(a), a.size(0), packed, 0, b.size(1), start.defined(),
                 c.mutable_data_ptr<float>(), b.size(1), &scratch);
  return c;
}

struct Sizes {
  int64_t rows, inner, columns;
};
const Sizes kSizes[] = {{1, 1, 1},    {6, 8, 32},   {7, 300, 33},
                        {13, 256, 5}, {5, 700, 97}, {64, 31, 64}};

TEST(PackedGemmTest, EachSizeAndOrder_EqualsFloat64) {
  for (const Sizes& s : kSizes) {
    const at::Tensor a = at::randn({s.rows, s.inner}), b = at::randn({s.inner, s.columns});
    const at::Tensor start = at::randn({s.rows, s.columns});
    const at::Tensor want = at::mm(a.to(at::kDouble), b.to(at::kDouble));
    const at::Tensor turned_a = a.t().contiguous().t(), turned_b = b.t().contiguous().t();
    const at::Tensor plain = Product(a, b, {});
    EXPECT_LT(Error(plain, want), 1e-4) << s.inner;
    EXPECT_TRUE(at::equal(Product(turned_a, b, {}), plain)) << s.inner;
    EXPECT_TRUE(at::equal(Product(a, turned_b, {}), plain)) << s.inner;
    EXPECT_LT(Error(Product(a, b, start), want + start), 1e-4) << s.inner;
  }
}

TEST(PackedGemmTest, PartOfTheColumns_SameBitsAsAll) {
  const at::Tensor a = at::randn({11, 40}), b = at::randn({40, 100});
  const at::Tensor all = Product(a, b, {});
  PackedColumns packed;
  packed.Pack(View(b), 40, 100);
  GemmScratch scratch;
  at::Tensor part = at::full({11, 50}, NAN);
  MultiplyPacked(View(a), 11, packed, kGemmColumns, kGemmColumns + 41, /*add=*/false,
                 part.mutable_data_ptr<float>(), 50, &scratch);
  EXPECT_TRUE(at::equal(part.narrow(1, 0, 41), all.narrow(1, kGemmColumns, 41)));
  EXPECT_TRUE(part.narrow(1, 41, 9).isnan().all().item<bool>());
}

TEST(PackedGemmTest, OtherRowsAndThreads_SameBits) {
  const at::Tensor a = at::randn({20, 300}), b = at::randn({300, 3000});
  const at::Tensor all = Product(a, b, {});
  for (int64_t rows : {1, 5, 12}) {
    const tensor::ThreadCount count(2);
    EXPECT_TRUE(at::equal(Product(a.narrow(0, 3, rows), b, {}), all.narrow(0, 3, rows))) << rows;
  }
}

}  // namespace
}  // namespace retort::model
