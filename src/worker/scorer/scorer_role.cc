#include "worker/scorer/scorer_role.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "worker/agent/report_text.h"
#include "worker/scorer/bundle_scorer.h"
#include "worker/weight_sync/policy_model.h"

namespace retort::worker {
namespace {

double SecondsSince(absl::Duration start) {
  return absl::ToDoubleSeconds(Clock::Real()->Now() - start);
}

class ScorerRole {
 public:
  ScorerRole(DriverSession& session, model::Model reference, const ScoringOptions& options)
      : session_(session), reference_(std::move(reference)), options_(options) {}

  absl::Status Run();

 private:
  absl::Status Score(const v1::ScoreLease& lease);
  absl::Status ReportFetchFailed(const v1::ScoreLease& lease, const absl::Status& failure);

  DriverSession& session_;
  const model::Model reference_;
  const ScoringOptions options_;
};

absl::Status ScorerRole::Run() {
  RETORT_RETURN_IF_ERROR(session_.Ready());
  while (true) {
    RETORT_ASSIGN_OR_RETURN(const std::optional<v1::DriverMessage> command, session_.NextCommand());
    if (!command.has_value()) return absl::OkStatus();
    if (!command->has_score_lease()) {
      LogWarning("command ignored: not a scorer's kind={}", static_cast<int>(command->kind_case()));
      continue;
    }
    const v1::ScoreLease& lease = command->score_lease();
    const absl::Status status = Score(lease);
    if (status.ok() || session_.stopping()) continue;
    LogError("scoring failed step={} bundle={} error=\"{}\"", lease.bundle().step(),
             lease.bundle().index(), status.ToString());
    RETORT_RETURN_IF_ERROR(session_.ReportFailure(lease.fence(), status));
  }
}

absl::Status ScorerRole::Score(const v1::ScoreLease& lease) {
  const absl::Duration start = Clock::Real()->Now();
  const absl::StatusOr<std::string> bytes =
      session_.Fetch(lease.rollout(), DriverSession::FetchDeadline(lease.deadline_ms()));
  if (absl::IsInvalidArgument(bytes.status())) return bytes.status();
  if (!bytes.ok()) return ReportFetchFailed(lease, bytes.status());
  const double fetch_seconds = SecondsSince(start);
  RETORT_ASSIGN_OR_RETURN(const artifact::Rollout rollout, artifact::DecodeRollout(*bytes));

  const absl::Duration scoring = Clock::Real()->Now();
  int64_t done = 0;
  RETORT_ASSIGN_OR_RETURN(const artifact::Scores scores,
                          ScoreBundle(reference_, options_, rollout, [&]() -> absl::Status {
                            RETORT_RETURN_IF_ERROR(Failpoint("scorer.micro_batch"));
                            if (session_.stopping())
                              return absl::CancelledError("the session ends");
                            session_.ReportProgress(lease.fence(), ++done);
                            return absl::OkStatus();
                          }));
  RETORT_ASSIGN_OR_RETURN(std::string encoded, artifact::Encode(scores));
  v1::WorkerMessage message;
  v1::ScoreReport& report = *message.mutable_score_report();
  *report.mutable_fence() = lease.fence();
  *report.mutable_bundle() = lease.bundle();
  RETORT_ASSIGN_OR_RETURN(
      *report.mutable_artifact(),
      session_.Hold(lease.bundle().step(), artifact::ScoresArtifactId(lease.bundle()),
                    std::move(encoded)));
  report.set_score_seconds(SecondsSince(scoring));
  report.set_fetch_seconds(fetch_seconds);
  RETORT_RETURN_IF_ERROR(session_.Send(message));
  return Failpoint("scorer.after_report");
}

absl::Status ScorerRole::ReportFetchFailed(const v1::ScoreLease& lease,
                                           const absl::Status& failure) {
  LogWarning("fetch failed artifact={} address={} error=\"{}\"", lease.rollout().artifact_id(),
             lease.rollout().address(), failure.ToString());
  v1::WorkerMessage message;
  v1::FetchFailed& report = *message.mutable_fetch_failed();
  *report.mutable_fence() = lease.fence();
  *report.mutable_bundle() = lease.bundle();
  report.set_artifact_id(lease.rollout().artifact_id());
  report.set_address(lease.rollout().address());
  report.set_message(ReportText(failure.message(), kMaxFailureBytes));
  return session_.Send(message);
}

}  // namespace

absl::Status RunScorer(DriverSession& session, const ScorerOptions& options) {
  const v1::JobSpec& spec = session.welcome().spec();
  RETORT_ASSIGN_OR_RETURN(const PolicyText policy, LoadPolicyText(spec));
  RETORT_ASSIGN_OR_RETURN(const ReferenceWeights weights, LoadReferenceWeights(spec));
  LogInfo("reference loaded elements={} bytes={}", weights.arena.layout().total_elements,
          weights.arena.flat().nbytes());
  RETORT_ASSIGN_OR_RETURN(model::Model reference,
                          ReferenceModel(spec, weights, tensor::DeviceOf(options.gpu)));
  return ScorerRole(session, std::move(reference), ScoringOptionsOf(spec, policy)).Run();
}

}  // namespace retort::worker
