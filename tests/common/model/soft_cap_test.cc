#include "common/model/soft_cap.h"

#include "common/model/composite.h"
#include "common/tensor/torch_process.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

TEST(SoftCapTest, EveryLength_EqualsTanhInFloat64) {
  for (const int64_t n : {1, 7, 8, 33, 1000}) {
    const at::Tensor x = at::randn({n}) * 40;
    at::Tensor y = x.clone();
    SoftCapRows(y.mutable_data_ptr<float>(), n, 30.0f);
    EXPECT_LT(Error(y, (x.to(at::kDouble) / 30.0).tanh() * 30.0), 5e-6) << n;
  }
}

TEST(SoftCapTest, AnElement_SameBitsWhereverItLies) {
  const at::Tensor x = at::randn({50001}) * 40;
  at::Tensor all = x.clone();
  {
    const tensor::ThreadCount two(2);
    SoftCapRows(all.mutable_data_ptr<float>(), x.numel(), 30.0f);
  }
  for (const int64_t at : {0, 5, 1000, 32767, 49999, 50000}) {
    at::Tensor one = x.narrow(0, at, 1).clone();
    SoftCapRows(one.mutable_data_ptr<float>(), 1, 30.0f);
    EXPECT_EQ(one.item<float>(), all[at].item<float>()) << at;
  }
}

}  // namespace
}  // namespace retort::model
