#include "common/base/file.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

std::string Scratch(const std::string& name) { return testing::TempDir() + "/file_test_" + name; }

TEST(FileTest, WriteAtomically_ReadBack) {
  const std::string path = Scratch("atomic");
  ASSERT_TRUE(WriteFileAtomically(path, "one").ok());
  ASSERT_TRUE(WriteFileAtomically(path, "two").ok());
  EXPECT_EQ(*ReadFile(path, 100), "two");
  EXPECT_FALSE(FileExists(path + ".tmp"));
}

TEST(FileTest, Read_LargerThanBound_OutOfRange) {
  const std::string path = Scratch("large");
  ASSERT_TRUE(WriteFileDurably(path, "12345").ok());
  EXPECT_EQ(ReadFile(path, 4).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(ReadFile(path, 5).ok());
}

TEST(FileTest, Read_Missing_NotFoundNamesThePath) {
  const absl::Status status = ReadFile("/no/such/file", 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(status.message().find("/no/such/file"), absl::string_view::npos);
}

TEST(FileTest, Read_Directory_InvalidArgument) {
  EXPECT_EQ(ReadFile("/tmp", 1 << 20).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(FileTest, ResolvePath_RelativeAbsoluteAndDots) {
  EXPECT_EQ(ResolvePath("/a/b", "c"), "/a/b/c");
  EXPECT_EQ(ResolvePath("/a/b", "../c"), "/a/c");
  EXPECT_EQ(ResolvePath("/a/b", "/c"), "/c");
}

}  // namespace
}  // namespace retort
