#include "common/artifact/artifact_format.h"

#include <string>

#include "gtest/gtest.h"
#include "sample_artifacts.h"

namespace retort::artifact {
namespace {

std::string RolloutBytes() { return *Encode(SampleRollout()); }

// Everything that decodes must encode to the very same bytes: one encoding per contents.
void ExpectRefusedOrCanonical(const std::string& bytes) {
  const absl::StatusOr<Rollout> rollout = DecodeRollout(bytes);
  if (rollout.ok()) {
    const absl::StatusOr<std::string> again = Encode(*rollout);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, bytes);
  } else {
    EXPECT_EQ(rollout.status().code(), absl::StatusCode::kDataLoss);
  }
  const absl::StatusOr<Scores> scores = DecodeScores(bytes);
  if (scores.ok()) {
    EXPECT_EQ(*Encode(*scores), bytes);
  }
}

TEST(ArtifactFormatTest, Decode_EveryPrefix_DataLoss) {
  const std::string bytes = RolloutBytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeRollout(bytes.substr(0, size)).status().code(), absl::StatusCode::kDataLoss)
        << size;
  }
}

TEST(ArtifactFormatTest, Decode_TrailingBytes_DataLoss) {
  EXPECT_EQ(DecodeRollout(RolloutBytes() + std::string(64, '\0')).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(ArtifactFormatTest, Decode_HugeHeaderSize_DataLoss) {
  std::string bytes = RolloutBytes();
  for (int i = 4; i < 8; ++i) bytes[i] = '\xff';
  EXPECT_EQ(DecodeRollout(bytes).status().code(), absl::StatusCode::kDataLoss);
}

TEST(ArtifactFormatTest, Decode_UnknownTensor_DataLoss) {
  const std::vector<float> values = {1, 2};
  v1::ScoresMeta meta;
  meta.mutable_bundle()->set_kind(v1::BUNDLE_KIND_TRAIN);
  internal::ArtifactWriter writer;
  writer.Add<float>("ref_log_probs", values, {2});
  writer.Add<float>("more", values, {2});
  const absl::Status status =
      DecodeScores(*writer.Finish("scores", meta.SerializeAsString())).status();
  EXPECT_EQ(status.message(), "scores artifact: more: a tensor that this build does not know");
}

TEST(ArtifactFormatTest, Decode_UnknownField_DataLoss) {
  v1::ScoresMeta meta;
  meta.mutable_bundle()->set_kind(v1::BUNDLE_KIND_TRAIN);
  const std::string unknown = "\x40\x03";  // Field 8, the number 3.
  for (const std::string& extra : {std::string(), unknown}) {
    internal::ArtifactWriter writer;
    writer.Add<float>("ref_log_probs", {}, {0});
    const auto bytes = writer.Finish("scores", meta.SerializeAsString() + extra);
    EXPECT_EQ(DecodeScores(*bytes).ok(), extra.empty());
  }
  v1::ArtifactHeader header;
  EXPECT_TRUE(internal::ParseCanonical("\x08\x01", &header));
  EXPECT_FALSE(internal::ParseCanonical("\x08\x01" + unknown, &header));
}

TEST(ArtifactFormatTest, Decode_NamesOfTwoLines_OneLineMessages) {
  internal::ArtifactWriter writer;
  const std::vector<float> values = {1, 2};
  writer.Add<float>("ref\nlog_probs", values, {2});
  v1::ScoresMeta meta;
  meta.mutable_bundle()->set_kind(v1::BUNDLE_KIND_TRAIN);
  EXPECT_EQ(DecodeScores(*writer.Finish("scores", meta.SerializeAsString())).status().message(),
            "scores artifact: ref_log_probs: found ref\\nlog_probs of f32, expected f32");
  EXPECT_EQ(DecodeScores(*writer.Finish("sco\nres", "")).status().message(),
            "scores artifact: kind 'sco\\nres'");
}

TEST(ArtifactFormatTest, Decode_EveryByteFlipped_RefusedOrCanonical) {
  const google::protobuf::LogSilencer no_lines_about_bad_utf8;
  const std::string bytes = RolloutBytes();
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      ExpectRefusedOrCanonical(damaged);
    }
  }
}

}  // namespace
}  // namespace retort::artifact
