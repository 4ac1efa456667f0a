#include "common/artifact/scores.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/artifact/artifact_format.h"
#include "common/base/status_macros.h"

namespace retort::artifact {
namespace {

constexpr char kKind[] = "scores";
constexpr int64_t kMaxVocab = 1 << 24;

std::string Problem(const Scores& scores) {
  if (std::string problem = internal::BundleProblem(scores.bundle); !problem.empty()) {
    return problem;
  }
  if (scores.vocab < 0 || scores.vocab > kMaxVocab) {
    return absl::StrCat("vocab: ", scores.vocab, ", expected 0 to ", kMaxVocab);
  }
  if (scores.vocab != 0 && scores.ref_log_probs.size() % scores.vocab != 0) {
    return absl::StrCat("ref_log_probs: ", scores.ref_log_probs.size(), " values are no rows of ",
                        scores.vocab);
  }
  return "";
}

absl::Status ReadMeta(const std::string& text, Scores* scores) {
  v1::ScoresMeta meta;
  if (!internal::ParseCanonical(text, &meta)) {
    return absl::DataLossError("meta: no canonical ScoresMeta");
  }
  scores->bundle = meta.bundle();
  scores->vocab = meta.vocab();
  return absl::OkStatus();
}

absl::StatusOr<Scores> Decode(absl::string_view bytes) {
  RETORT_ASSIGN_OR_RETURN(internal::ArtifactReader reader,
                          internal::ArtifactReader::Parse(bytes, kKind));
  Scores scores;
  RETORT_RETURN_IF_ERROR(ReadMeta(reader.meta(), &scores));
  RETORT_RETURN_IF_ERROR(reader.NextVector("ref_log_probs", &scores.ref_log_probs));
  RETORT_RETURN_IF_ERROR(reader.Finish());
  if (const std::string problem = Problem(scores); !problem.empty()) {
    return absl::DataLossError(problem);
  }
  return scores;
}

}  // namespace

absl::StatusOr<std::string> Encode(const Scores& scores) {
  if (const std::string problem = Problem(scores); !problem.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("scores artifact: ", problem));
  }
  v1::ScoresMeta meta;
  *meta.mutable_bundle() = scores.bundle;
  meta.set_vocab(scores.vocab);
  internal::ArtifactWriter writer;
  writer.Add<float>("ref_log_probs", scores.ref_log_probs,
                    {static_cast<int64_t>(scores.ref_log_probs.size())});
  return writer.Finish(kKind, meta.SerializeAsString());
}

absl::StatusOr<Scores> DecodeScores(absl::string_view bytes) {
  absl::StatusOr<Scores> scores = Decode(bytes);
  if (!scores.ok()) return WithContext(scores.status(), "scores artifact");
  return scores;
}

std::string ScoresArtifactId(const v1::BundleId& bundle) {
  return absl::StrCat("scores/", internal::BundlePath(bundle));
}

}  // namespace retort::artifact
