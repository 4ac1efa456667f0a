#include "worker/tools/token_json.h"

#include <cmath>
#include <limits>

#include "common/base/json.h"
#include "common/base/rng.h"
#include "common/text/tokenizer_fixture.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort::worker {
namespace {

TEST(TokenJsonTest, Floats_ReadBackEqual_AndAreShort) {
  EXPECT_EQ(DumpJson(FloatsJson({-0.1f, 2.5f, -1e-9f})), "[-0.1,2.5,-1e-09]");
  CounterRng rng(1, RngPurpose::kSampling, 0);
  for (int i = 0; i < 10000; ++i) {
    const auto value = static_cast<float>(std::log(rng.NextUniform() + 1e-12));
    const Json list = *ParseJson(DumpJson(FloatsJson({value})), "floats");
    EXPECT_EQ(list[0].get<float>(), value);
  }
}

TEST(TokenJsonTest, Floats_NotFinite_Null) {
  EXPECT_EQ(DumpJson(FloatsJson({-std::numeric_limits<float>::infinity()})), "[null]");
}

TEST(TokenJsonTest, Tokens_HalfACharacterIsReplaced_NoTokenIsNull) {
  const auto tokenizer = *text::Tokenizer::Parse(DumpJson(text::ByteLevelFile()), "", "t");
  EXPECT_EQ(TokensJson(*tokenizer, {'x', 0xC3, 257, 299}),
            Json({"x", "\xEF\xBF\xBD", " ab", nullptr}));
}

TEST(TokenJsonTest, Top_GroupsOfK) {
  const auto tokenizer = *text::Tokenizer::Parse(DumpJson(text::ByteLevelFile()), "", "t");
  EXPECT_EQ(DumpJson(TopJson(*tokenizer, {'a', 'b', 'c', 'd'}, {-0.5f, -1.f, -0.25f, -2.f}, 2)),
            R"([[{"id":97,"token":"a","log_prob":-0.5},{"id":98,"token":"b","log_prob":-1.0}],)"
            R"([{"id":99,"token":"c","log_prob":-0.25},{"id":100,"token":"d","log_prob":-2.0}]])");
}

}  // namespace
}  // namespace retort::worker
