#include "common/gpu/plugin.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::gpu {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string LibraryOf(absl::string_view name) {
  return absl::StrCat(std::getenv("RETORT_BIN_DIR"), "/../tests/lib", name, ".so");
}

class PluginTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = ResolvePath(testing::TempDir(), absl::StrCat("plugin_test.", getpid()));
    ASSERT_TRUE(MakeDirectories(absl::StrCat(folder_, "/bin")).ok());
    ASSERT_TRUE(MakeDirectories(absl::StrCat(folder_, "/lib")).ok());
  }
  void TearDown() override {
    unsetenv("RETORT_GPU_PLUGIN");
    ASSERT_TRUE(RemoveRecursively(folder_).ok());
  }
  std::string bin() const { return absl::StrCat(folder_, "/bin"); }
  void Touch(const std::string& path) { std::ofstream{path} << "x"; }

  std::string folder_;
};

TEST_F(PluginTest, FindPlugin_Nowhere_SaysWhereItLooked) {
  const auto found = FindPlugin(bin());
  EXPECT_TRUE(absl::IsNotFound(found.status()));
  EXPECT_THAT(std::string(found.status().message()),
              AllOf(HasSubstr(absl::StrCat(bin(), "/libretort_cuda.so")), HasSubstr("/../lib/"),
                    HasSubstr("RETORT_GPU_PLUGIN is not set")));
}

TEST_F(PluginTest, FindPlugin_BesideTheProgramBeforeLib) {
  Touch(absl::StrCat(folder_, "/lib/libretort_cuda.so"));
  EXPECT_EQ(*FindPlugin(bin()), absl::StrCat(bin(), "/../lib/libretort_cuda.so"));
  Touch(absl::StrCat(bin(), "/libretort_cuda.so"));
  EXPECT_EQ(*FindPlugin(bin()), absl::StrCat(bin(), "/libretort_cuda.so"));
}

TEST_F(PluginTest, FindPlugin_Variable_IsTheOnlyPlace) {
  Touch(absl::StrCat(bin(), "/libretort_cuda.so"));
  setenv("RETORT_GPU_PLUGIN", "lib/there.so", 1);
  EXPECT_THAT(std::string(FindPlugin(bin()).status().message()),
              HasSubstr("expected an absolute path"));
  setenv("RETORT_GPU_PLUGIN", "/not/there.so", 1);
  EXPECT_TRUE(absl::IsNotFound(FindPlugin(bin()).status()));
  Touch(absl::StrCat(folder_, "/mine.so"));
  setenv("RETORT_GPU_PLUGIN", absl::StrCat(folder_, "/mine.so").c_str(), 1);
  EXPECT_EQ(*FindPlugin(bin()), absl::StrCat(folder_, "/mine.so"));
}

// One process loads one plug-in, so each case is a process of its own.
using PluginDeathTest = PluginTest;

[[noreturn]] void LoadAndTell(const std::string& path, const char* build) {
  setenv("RETORT_GPU_PLUGIN", path.c_str(), 1);
  const auto first = LoadPlugin("/nowhere", build);
  const auto second = LoadPlugin("/nowhere", "asked again");
  std::fprintf(stderr, "%s|%s\n", first.status().ToString().c_str(),
               second.status() == first.status() ? "same" : "other");
  std::_Exit(0);
}

TEST_F(PluginDeathTest, LoadPlugin_EachWayToFail_SaysWhy) {
  const std::string no_library = absl::StrCat(folder_, "/text.so");
  Touch(no_library);
  EXPECT_EXIT(LoadAndTell(no_library, "good"), testing::ExitedWithCode(0),
              "FAILED_PRECONDITION: the GPU plug-in .*text.so cannot be loaded: .*too short.*"
              "same");
  EXPECT_EXIT(LoadAndTell(LibraryOf("retort_other_library"), "good"), testing::ExitedWithCode(0),
              "is no GPU plug-in: it has no symbol retort_gpu_plugin.*same");
  EXPECT_EXIT(LoadAndTell(LibraryOf("retort_refusing_plugin"), "bad"), testing::ExitedWithCode(0),
              "retort_refusing_plugin.so is of another build.*same");
  EXPECT_EXIT(LoadAndTell(LibraryOf("retort_refusing_plugin"), "good"), testing::ExitedWithCode(0),
              "OK.same");
}

}  // namespace
}  // namespace retort::gpu
