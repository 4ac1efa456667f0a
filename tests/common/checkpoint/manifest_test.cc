#include "common/checkpoint/manifest.h"

#include "absl/strings/str_cat.h"
#include "common/base/json.h"
#include "common/checkpoint/scratch_checkpoint.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort::checkpoint {
namespace {

Manifest Example() {
  Manifest manifest;
  manifest.step = 4;
  manifest.epoch = 18'000'000'000'000'000'000u;
  manifest.world_size = 2;
  manifest.total_elements = kTotal;
  manifest.published_elements = kPublished;
  manifest.config_digest = DigestOf("config");
  manifest.shards = {{{"shard-0-of-2.safetensors", 10, DigestOf("a")}, {0, 48}},
                     {{"shard-1-of-2.safetensors", 20, DigestOf("b")}, {48, 100}}};
  manifest.versions = {{{"version-3.safetensors", 30, DigestOf("c")}, 3, DigestOf("w")}};
  manifest.state = State(4);
  return manifest;
}

TEST(ManifestTest, RoundTrip_SameBits) {
  const Manifest manifest = Example();
  EXPECT_EQ(*DecodeManifest(EncodeManifest(manifest), "m"), manifest);
  const ShardRecord& shard = manifest.shards[1];
  EXPECT_EQ(*DecodeShardRecord(EncodeShardRecord(shard), "r"), shard);
}

// What EncodeManifest would write of this content.
std::string Sealed(const Json& content) {
  return DumpJson(Json{{"digest", DigestOf(DumpJson(content)).ToHex()}, {"manifest", content}});
}
Json ContentOf(const Manifest& manifest) {
  return (*ParseJson(EncodeManifest(manifest), "m"))["manifest"];
}

// Calls `visit` with a path to every object and every list inside `value`.
template <typename Visit>
void ForEachField(Json& value, const std::string& path, const Visit& visit) {
  if (value.is_object()) {
    std::vector<std::string> keys;
    for (const auto& [key, child] : value.items()) keys.push_back(key);
    for (const std::string& key : keys) {
      const std::string name = path.empty() ? key : absl::StrCat(path, ".", key);
      ForEachField(value[key], name, visit);
      visit(value, key, name);
    }
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) {
      ForEachField(value[i], absl::StrCat(path, "[", i, "]"), visit);
    }
  }
}

TEST(ManifestTest, Decode_AnyFieldMissing_DataLossNamesIt) {
  Json root = ContentOf(Example());
  int fields = 0;
  ForEachField(root, "", [&](Json& object, const std::string& key, const std::string& name) {
    const Json saved = object;
    object.erase(key);
    const absl::Status status = DecodeManifest(Sealed(root), "dir/MANIFEST.json").status();
    object = saved;
    ++fields;
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << name;
    EXPECT_EQ(status.message(), absl::StrCat("dir/MANIFEST.json: field ", name, " is missing"));
  });
  EXPECT_EQ(fields, 10 + 2 * 6 + 6 + 10);  // Manifest, two shards, one version, the state.
}

TEST(ManifestTest, Decode_AnyFieldOfWrongType_DataLossNamesIt) {
  Json root = ContentOf(Example());
  ForEachField(root, "", [&](Json& object, const std::string& key, const std::string& name) {
    const Json saved = object[key];
    object[key] = true;
    const absl::Status status = DecodeManifest(Sealed(root), "m").status();
    object[key] = saved;
    if (name == "format_version") return;
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << name;
    EXPECT_NE(status.message().find(absl::StrCat("field ", name)), absl::string_view::npos)
        << status;
  });
}

TEST(ManifestTest, Decode_DigestMissingOrWrong_DataLoss) {
  const Json content = ContentOf(Example());
  EXPECT_EQ(DecodeManifest(DumpJson(Json{{"manifest", content}}), "m").status().message(),
            "m: field digest is missing");
  const absl::Status wrong =
      DecodeManifest(DumpJson(Json{{"digest", Digest().ToHex()}, {"manifest", content}}), "m")
          .status();
  EXPECT_EQ(wrong.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(wrong.message(), "m: its contents changed, the digest does not fit");
}

TEST(ManifestTest, Decode_UnknownField_Refused) {
  Json root = ContentOf(Example());
  root["state"]["momentum"] = 1;
  EXPECT_EQ(DecodeManifest(Sealed(root), "m").status().message(),
            "m: field state.momentum is unknown");
  root = ContentOf(Example());
  root["a\nb"] = 1;
  EXPECT_EQ(DecodeManifest(Sealed(root), "m").status().message(), "m: field a\\nb is unknown");
}

TEST(ManifestTest, Decode_OtherFormatVersion_FailedPrecondition) {
  Json root = ContentOf(Example());
  root["format_version"] = 2;
  EXPECT_EQ(DecodeManifest(Sealed(root), "m").status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(ManifestTest, Decode_InconsistentParts_Refused) {
  const auto refused = [](const std::function<void(Manifest*)>& spoil) {
    Manifest manifest = Example();
    spoil(&manifest);
    return std::string(DecodeManifest(EncodeManifest(manifest), "m").status().message());
  };
  EXPECT_EQ(refused([](Manifest* m) { m->state.step = 5; }),
            "m: field state.step differs from step");
  EXPECT_NE(refused([](Manifest* m) { m->shards[1].range.begin = 47; }).find("shard-1"),
            std::string::npos);
  EXPECT_NE(refused([](Manifest* m) { m->shards[1].range.end = 99; }).find("do not cover"),
            std::string::npos);
  EXPECT_NE(refused([](Manifest* m) { m->shards.pop_back(); }).find("world_size"),
            std::string::npos);
  EXPECT_NE(refused([](Manifest* m) { m->versions.push_back(m->versions[0]); }).find("ascending"),
            std::string::npos);
  for (const char* const name : {"../x", "a/x", "/x", "x/", "/", ".", ".x", ""}) {
    EXPECT_NE(refused([&](Manifest* m) { m->shards[0].file.name = name; }).find("plain file name"),
              std::string::npos)
        << name;
  }
  EXPECT_NE(refused([](Manifest* m) { m->shards[0].file.bytes = -1; }).find("is negative"),
            std::string::npos);
}

TEST(ManifestTest, SliceOf_AnyWorld_CoversInAlignedSlices) {
  for (const int64_t total : {int64_t{0}, int64_t{5}, int64_t{100}, int64_t{1 << 20}}) {
    for (int world = 1; world <= 7; ++world) {
      int64_t next = 0;
      for (int rank = 0; rank < world; ++rank) {
        const ElementRange slice = SliceOf(total, rank, world);
        EXPECT_EQ(slice.begin, next);
        EXPECT_TRUE(slice.begin % 16 == 0 || slice.begin == total);
        next = slice.end;
      }
      EXPECT_EQ(next, total);
    }
  }
}

}  // namespace
}  // namespace retort::checkpoint
