#include "common/base/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/str_cat.h"
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

TEST(FileTest, Read_FileWithoutASize_ReadToItsEnd) {
  const absl::StatusOr<std::string> boot = ReadFile("/proc/sys/kernel/random/boot_id", 100);
  ASSERT_TRUE(boot.ok()) << boot.status();
  EXPECT_EQ(boot->size(), 37);
  EXPECT_EQ(ReadFile("/proc/sys/kernel/random/boot_id", 36).status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST(FileTest, Read_Pipe_WhatItsWriterSays) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string said(200'000, 'x');  // More than a pipe holds.
  std::thread writer([&] {
    for (size_t put = 0; put < said.size();)
      put += write(ends[1], said.data() + put, said.size() - put);
    close(ends[1]);
  });
  const auto heard = ReadFile(absl::StrCat("/proc/self/fd/", ends[0]), 1 << 20);
  writer.join();
  close(ends[0]);
  ASSERT_TRUE(heard.ok()) << heard.status();
  EXPECT_EQ(*heard, said);
}

TEST(FileTest, NamedPipeWithoutAWriter_NobodyWaits) {
  const std::string path = Scratch(absl::StrCat("fifo_", getpid()));
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(ReadFile(path, 10).value_or("error"), "");
  const absl::Status status = OpenRegularFile(path).status();
  unlink(path.c_str());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), path + ": is not a regular file");
}

TEST(FileTest, ResolvePath_RelativeAbsoluteAndDots) {
  EXPECT_EQ(ResolvePath("/a/b", "c"), "/a/b/c");
  EXPECT_EQ(ResolvePath("/a/b", "../c"), "/a/c");
  EXPECT_EQ(ResolvePath("/a/b", "/c"), "/c");
}

}  // namespace
}  // namespace retort
