// A checkpoint's MANIFEST.json: a refusal that names the file, or a manifest that survives its own
// encoding. A mutated file fails its digest at once, so the input is also tried as the content
// under a digest that fits, and as a shard record.
#include "common/base/check.h"
#include "common/base/json.h"
#include "common/checkpoint/manifest.h"
#include "fuzz/fuzz_target.h"
#include "nlohmann/json.hpp"

namespace retort::fuzz {
namespace {

using checkpoint::Manifest;

Manifest Example() {
  Manifest manifest;
  manifest.step = 4;
  manifest.epoch = 18'000'000'000'000'000'000u;
  manifest.world_size = 2;
  manifest.total_elements = 100;
  manifest.published_elements = 64;
  manifest.config_digest = DigestOf("config");
  manifest.shards = {{{"shard-0-of-2.safetensors", 10, DigestOf("a")}, {0, 48}},
                     {{"shard-1-of-2.safetensors", 20, DigestOf("b")}, {48, 100}}};
  manifest.versions = {{{"version-3.safetensors", 30, DigestOf("c")}, 3, DigestOf("w")}};
  manifest.state.step = 4;
  manifest.state.kl_coef = 1.0 / 3;
  manifest.state.score_moments = {0.7, 1.0 / 7, 0.4, 12};
  return manifest;
}

bool TryManifest(absl::string_view text) {
  const auto manifest = checkpoint::DecodeManifest(text, "MANIFEST.json");
  if (!manifest.ok()) {
    CheckRefusal(manifest.status(),
                 {absl::StatusCode::kDataLoss, absl::StatusCode::kFailedPrecondition},
                 {"MANIFEST.json: "});
    return false;
  }
  const auto again = checkpoint::DecodeManifest(checkpoint::EncodeManifest(*manifest), "again");
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(*again == *manifest);
  return true;
}

bool TryShardRecord(absl::string_view text) {
  const auto record = checkpoint::DecodeShardRecord(text, "rank 1");
  if (!record.ok()) {
    CheckRefusal(record.status(), {absl::StatusCode::kDataLoss}, {"rank 1: "});
    return false;
  }
  const auto again = checkpoint::DecodeShardRecord(checkpoint::EncodeShardRecord(*record), "again");
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(*again == *record);
  return true;
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::string whole = checkpoint::EncodeManifest(Example());
  return {whole, DumpJson((*ParseJson(whole, "seed"))["manifest"]),
          checkpoint::EncodeShardRecord(Example().shards[1])};
}

}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  bool accepted = fuzz::TryManifest(text);
  if (const auto content = ParseJson(text, "input"); content.ok()) {
    const std::string digest = DigestOf(content->dump()).ToHex();
    accepted |= fuzz::TryManifest(DumpJson(Json{{"digest", digest}, {"manifest", *content}}));
  }
  accepted |= fuzz::TryShardRecord(text);
  if (accepted) fuzz::NoteAccepted();
  return 0;
}
