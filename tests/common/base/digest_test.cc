#include "common/base/digest.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(DigestTest, Empty_IsXxh3OfNothing) {
  EXPECT_EQ(DigestOf("").ToHex(), "99aa06d3014798d86001c324468d497f");
}

TEST(DigestTest, Hasher_PiecewiseEqualsWhole) {
  Hasher hasher;
  hasher.Update("dis");
  hasher.Update("til");
  EXPECT_EQ(hasher.Finish(), DigestOf("distil"));
}

TEST(DigestTest, Hex_RoundTrip) {
  const Digest digest = DigestOf("retort");
  EXPECT_EQ(*Digest::FromHex(digest.ToHex()), digest);
}

TEST(DigestTest, FromHex_NotADigest_Refused) {
  EXPECT_FALSE(Digest::FromHex("12").ok());
  EXPECT_FALSE(Digest::FromHex(std::string(32, 'z')).ok());
}

}  // namespace
}  // namespace retort
