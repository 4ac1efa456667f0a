#include "common/model/simd.h"

#include <cstdlib>
#include <string>

#include "gtest/gtest.h"

namespace retort::model::simd {
namespace {

struct WidthKernel {
  int* bytes;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    *bytes = kBytes;
  }
};

int WidestOfTheCpu() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return 64;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 32;
#endif
  return 16;
}

// The program runs once without and once with each value of the variable (CMakeLists.txt).
TEST(SimdTest, Dispatch_TakesTheWidestThatIsThereAndWanted) {
  const char* const variable = std::getenv("ATEN_CPU_CAPABILITY");
  const std::string wanted = variable == nullptr ? "avx512" : variable;
  const int most = wanted == "default" ? 16 : wanted == "avx2" ? 32 : 64;
  int bytes = 0;
  Dispatch(WidthKernel{&bytes});
  EXPECT_EQ(bytes, std::min(most, WidestOfTheCpu())) << wanted;
}

}  // namespace
}  // namespace retort::model::simd
