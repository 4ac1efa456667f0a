#include "gtest/gtest.h"
#include "testing/pretend_device.h"
#include "testing/tiny_model.h"
#include "worker/learner/trained_model.h"

namespace retort::worker {
namespace {

TEST(TrainedModelDeviceTest, Restore_OfBf16_ComputesWithTheWeightsOfTheSnapshot) {
  const PolicyModel policy(tiny::TinyConfig(), {pretend::Device(), at::kBFloat16});
  const layout::ParameterLayout layout = policy.TrainedLayout(/*value_head=*/true);
  const auto model =
      MakeTrainedModel(policy, layout,
                       at::zeros({layout.total_elements},
                                 at::TensorOptions().dtype(at::kFloat).device(pretend::Device())));
  ASSERT_TRUE(model.ok()) << model.status();
  const tensor::ParameterArena weights = tiny::RandomArena(tiny::TinyConfig(), true, 3);
  (*model)->SetState({weights, weights, weights});
  const ModelSnapshot before(**model);
  (*model)->parameters.flat().add_(1);
  (*model)->Round();
  before.Restore(model->get());
  EXPECT_TRUE((*model)->parameters.flat().cpu().equal(weights.flat()));
  EXPECT_TRUE((*model)->rounded->flat().cpu().equal(weights.flat().to(at::kBFloat16)));
}

}  // namespace
}  // namespace retort::worker
