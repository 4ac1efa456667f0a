#include "common/artifact/artifact_store.h"

#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace retort::artifact {
namespace {

TEST(ArtifactStoreTest, Put_Bytes_DigestAndSizeOfThem) {
  ArtifactStore store;
  const absl::StatusOr<StoredArtifact> stored = store.Put(3, "a", "hello");
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(stored->digest, DigestOf("hello"));
  EXPECT_EQ(stored->bytes, 5);
  EXPECT_EQ(**store.Get("a"), "hello");
}

TEST(ArtifactStoreTest, Put_SameBytesAgain_Ok) {
  ArtifactStore store;
  ASSERT_TRUE(store.Put(3, "a", "hello").ok());
  EXPECT_TRUE(store.Put(3, "a", "hello").ok());
  EXPECT_EQ(store.held_bytes(), 5);
}

TEST(ArtifactStoreTest, Put_OtherBytesUnderAHeldId_DataLoss) {
  ArtifactStore store;
  ASSERT_TRUE(store.Put(3, "a", "hello").ok());
  EXPECT_EQ(store.Put(3, "a", "other").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(**store.Get("a"), "hello");
}

TEST(ArtifactStoreTest, Put_BadId_InvalidArgument) {
  ArtifactStore store;
  EXPECT_EQ(store.Put(3, "", "x").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store.Put(3, std::string(129, 'i'), "x").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ArtifactStoreTest, Release_Step_EarlierAndEqualGone) {
  ArtifactStore store;
  for (int step = 1; step <= 4; ++step) {
    ASSERT_TRUE(store.Put(step, absl::StrCat("a", step), "xx").ok());
  }
  store.Release(2);
  EXPECT_EQ(store.Get("a2").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(store.Get("a3").ok());
  EXPECT_EQ(store.held_artifacts(), 2);
  EXPECT_EQ(store.held_bytes(), 4);
  store.Release(-1);
  EXPECT_EQ(store.held_artifacts(), 0);
  EXPECT_EQ(store.held_bytes(), 0);
}

TEST(ArtifactStoreTest, Release_WhileRead_BytesStay) {
  ArtifactStore store;
  ASSERT_TRUE(store.Put(1, "a", "hello").ok());
  const std::shared_ptr<const std::string> held = *store.Get("a");
  store.Release(1);
  EXPECT_EQ(*held, "hello");
}

TEST(ArtifactStoreTest, PutGetRelease_ManyThreads_Consistent) {
  ArtifactStore store;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&store, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string id = absl::StrCat(t, "/", i);
        ASSERT_TRUE(store.Put(i, id, id).ok());
        const auto got = store.Get(id);
        if (got.ok()) {
          EXPECT_EQ(**got, id);
        }
        if (i % 10 == 0) store.Release(i - 5);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  store.Release(-1);
  EXPECT_EQ(store.held_bytes(), 0);
}

}  // namespace
}  // namespace retort::artifact
