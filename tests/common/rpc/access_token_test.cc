#include "common/rpc/access_token.h"

#include <sys/stat.h>

#include "common/base/file.h"
#include "gtest/gtest.h"

namespace retort::rpc {
namespace {

std::string FreshPath(const std::string& name) {
  const std::string path = ::testing::TempDir() + "/" + name;
  EXPECT_TRUE(RemoveRecursively(path).ok());
  return path;
}

TEST(AccessTokenTest, Generate_Twice_DifferentSecretsOf256Bits) {
  const AccessToken a = AccessToken::Generate();
  EXPECT_EQ(a.secret().size(), 64u);
  EXPECT_NE(a.secret(), AccessToken::Generate().secret());
}

TEST(AccessTokenTest, ReadFile_Written_SameSecret) {
  const std::string path = FreshPath("token");
  const AccessToken token = AccessToken::Generate();
  ASSERT_TRUE(token.WriteFile(path).ok());
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const absl::StatusOr<AccessToken> read = AccessToken::ReadFile(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->secret(), token.secret());
}

TEST(AccessTokenTest, WriteFile_Exists_AlreadyExists) {
  const std::string path = FreshPath("token");
  ASSERT_TRUE(AccessToken::Generate().WriteFile(path).ok());
  EXPECT_EQ(AccessToken::Generate().WriteFile(path).code(), absl::StatusCode::kAlreadyExists);
}

TEST(AccessTokenTest, ReadFile_OthersMayRead_PermissionDenied) {
  const std::string path = FreshPath("token");
  ASSERT_TRUE(AccessToken::Generate().WriteFile(path).ok());
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  EXPECT_EQ(AccessToken::ReadFile(path).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST(AccessTokenTest, ReadFile_BadContents_InvalidArgument) {
  for (const std::string& text : {std::string("short\n"), std::string(257, 'a') + "\n",
                                  std::string(40, ' '), std::string(40, '\n'), std::string()}) {
    const std::string path = FreshPath("token");
    ASSERT_TRUE(WriteFileDurably(path, text).ok());
    ASSERT_EQ(chmod(path.c_str(), 0600), 0);
    EXPECT_EQ(AccessToken::ReadFile(path).status().code(), absl::StatusCode::kInvalidArgument)
        << text.size();
  }
}

TEST(AccessTokenTest, ReadFile_Missing_NotFound) {
  EXPECT_EQ(AccessToken::ReadFile(FreshPath("none")).status().code(), absl::StatusCode::kNotFound);
}

TEST(AccessTokenTest, Matches_OnlyTheToken) {
  const AccessToken token = AccessToken::Generate();
  const TokenVerifier verifier(token);
  EXPECT_TRUE(verifier.Matches(token.secret()));
  EXPECT_FALSE(verifier.Matches(""));
  EXPECT_FALSE(verifier.Matches(token.secret() + "0"));
  EXPECT_FALSE(verifier.Matches(token.secret().substr(1)));
}

}  // namespace
}  // namespace retort::rpc
