#include "common/layout/generation_defaults.h"

#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::layout {
namespace {

using ::testing::HasSubstr;

class GenerationDefaultsTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(MakeDirectories(folder_).ok()); }
  void TearDown() override { ASSERT_TRUE(RemoveRecursively(folder_).ok()); }
  absl::StatusOr<GenerationDefaults> Load(const std::string& text) {
    const absl::Status written = WriteFileAtomically(folder_ + "/generation_config.json", text);
    if (!written.ok()) return written;
    return LoadGenerationDefaults(folder_);
  }

  const std::string folder_ = absl::StrCat(testing::TempDir(), "/generation_defaults.", getpid());
};

TEST_F(GenerationDefaultsTest, Load_NoFile_Defaults) {
  EXPECT_EQ(*LoadGenerationDefaults(folder_), GenerationDefaults());
}

TEST_F(GenerationDefaultsTest, Load_EveryKey_Taken) {
  const auto loaded = Load(
      R"({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.1,
          "repetition_penalty": 1.05, "min_new_tokens": 2, "max_new_tokens": 99,
          "transformers_version": "5.0", "eos_token_id": [1, 2]})");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(*loaded, (GenerationDefaults{0.6, 20, 0.95, 0.1, 1.05, 2, 99}));
}

TEST_F(GenerationDefaultsTest, Load_NullIsMissing) {
  EXPECT_EQ(*Load(R"({"temperature": null, "top_k": null})"), GenerationDefaults());
}

TEST_F(GenerationDefaultsTest, Load_DoSampleFalse_Greedy) {
  EXPECT_EQ(Load(R"({"do_sample": false, "temperature": 0.7})")->temperature, 0);
}

TEST_F(GenerationDefaultsTest, Load_BadValues_NamesFileAndKey) {
  for (const char* bad :
       {R"({"temperature": -1})", R"({"temperature": "hot"})", R"({"top_k": 1.5})",
        R"({"top_p": 0})", R"({"min_p": 2})", R"({"repetition_penalty": 0})", R"({"do_sample": 1})",
        R"({"max_new_tokens": 0})", R"({"min_new_tokens": -1})"}) {
    const absl::Status status = Load(bad).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr("generation_config.json: ")) << bad;
  }
  EXPECT_FALSE(Load("[]").ok());
  EXPECT_FALSE(Load("{").ok());
}

}  // namespace
}  // namespace retort::layout
