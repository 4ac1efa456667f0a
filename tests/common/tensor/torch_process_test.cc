#include "common/tensor/torch_process.h"

#include <cstdlib>
#include <vector>

#include "common/tensor/aten.h"
#include "gtest/gtest.h"

namespace retort::tensor {
namespace {

TEST(TorchProcessTest, Catch_AtenError_OneLineInternal) {
  const absl::Status status = CatchTorch([] { at::matmul(at::zeros({2, 3}), at::zeros({2, 3})); });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  EXPECT_NE(status.message().find("LibTorch"), absl::string_view::npos);
}

// As the C++ library and LibTorch's allocator say it; a real attempt would end a sanitized process.
TEST(TorchProcessTest, Catch_OutOfMemory_ResourceExhausted) {
  EXPECT_EQ(CatchTorch([] { throw std::bad_alloc(); }).code(),
            absl::StatusCode::kResourceExhausted);
  const absl::Status status = CatchTorch([] {
    TORCH_CHECK(false,
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.");
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status.ToString();
  const absl::Status device = CatchTorch([] {
    TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate 2 GiB.");
  });
  EXPECT_EQ(device.code(), absl::StatusCode::kResourceExhausted) << device.ToString();
}

TEST(TorchProcessTest, Catch_BodyWithStatus_KeepsItsType) {
  EXPECT_EQ(CatchTorch([] { return absl::NotFoundError("x"); }).code(),
            absl::StatusCode::kNotFound);
  const absl::StatusOr<int> value = CatchTorch([]() -> absl::StatusOr<int> { return 7; });
  EXPECT_EQ(*value, 7);
}

TEST(TorchProcessTest, ThreadCount_LeavingTheScope_Restores) {
  const int before = at::get_num_threads();
  {
    const ThreadCount scope(before + 1);
    EXPECT_EQ(at::get_num_threads(), before + 1);
  }
  EXPECT_EQ(at::get_num_threads(), before);
}

// parallel_for is inline: it is parallel only where its caller is compiled for OpenMP.
TEST(TorchProcessTest, ThreadCount_TwoThreads_ParallelForRunsOnBoth) {
  const ThreadCount scope(2);
  std::vector<int> ran_on(2, -1);
  at::parallel_for(0, 2, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ran_on[i] = at::get_thread_num();
  });
  EXPECT_EQ(ran_on, (std::vector<int>{0, 1}));
}

// Once only: LibTorch refuses a second count of inter-op threads.
TEST(TorchProcessTest, Configure_DeterministicWithoutFillingInFullPrecision) {
  at::Context& context = at::globalContext();
  context.setAllowTF32CuBLAS(true);
  context.setAllowTF32CuDNN(true);
  ConfigureTorchProcess(1);
  EXPECT_FALSE(context.allowTF32CuBLAS());
  EXPECT_FALSE(context.allowTF32CuDNN());
  EXPECT_EQ(context.float32MatmulPrecision(), at::Float32MatmulPrecision::HIGHEST);
  EXPECT_EQ(context.allowBF16ReductionCuBLAS(),
            at::CuBLASReductionOption::DisallowReducedPrecisionAllowSplitK);
  EXPECT_STREQ(std::getenv("CUBLAS_WORKSPACE_CONFIG"), ":4096:8");
  EXPECT_TRUE(at::globalContext().deterministicAlgorithms());
  EXPECT_FALSE(at::globalContext().deterministicFillUninitializedMemory());
  EXPECT_EQ(at::get_num_threads(), 1);
  AllowTf32();  // A job may ask for it.
  EXPECT_TRUE(context.allowTF32CuBLAS());
}

TEST(TorchProcessTest, DistinctIndices_ForTheirScopeOnly) {
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  {
    const DistinctIndices outer;
    EXPECT_FALSE(at::globalContext().deterministicAlgorithms());
    { const DistinctIndices inner; }
    EXPECT_FALSE(at::globalContext().deterministicAlgorithms());
  }
  EXPECT_TRUE(at::globalContext().deterministicAlgorithms());
  EXPECT_FALSE(at::globalContext().deterministicAlgorithmsWarnOnly());
}

}  // namespace
}  // namespace retort::tensor
