#include "worker/rollout/rollout_role.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "worker/rollout/bundle_generator.h"
#include "worker/weight_sync/installer.h"
#include "worker/weight_sync/policy_source.h"
#include "worker/weight_sync/weight_segment.h"

namespace retort::worker {
namespace {

// Text goes through the driver, which must stay small: this many samples a step or evaluation.
constexpr int64_t kSampleTexts = 8;

// How many sample texts a bundle contributes, so that a step's bundles together give about
// kSampleTexts.
int SampleTextsOf(const v1::JobSpec& spec, const v1::BundleId& bundle) {
  if (bundle.kind() == v1::BUNDLE_KIND_EVAL) return bundle.index() == 0 ? kSampleTexts : 0;
  const int64_t per_bundle = spec.rollout().bundle_prompts();
  const int64_t bundles = (spec.data().prompts_per_step() + per_bundle - 1) / per_bundle;
  return bundle.index() < kSampleTexts ? static_cast<int>((kSampleTexts + bundles - 1) / bundles)
                                       : 0;
}

class RolloutRole {
 public:
  RolloutRole(DriverSession& session, const std::string& token, const PolicyText& policy,
              std::unique_ptr<BundleGenerator> generator)
      : session_(session), token_(token), policy_(policy), generator_(std::move(generator)) {}

  absl::Status Run();

 private:
  absl::Status OpenRing(absl::Duration timeout);
  absl::Status Act(const v1::RolloutLease& lease);
  absl::StatusOr<GeneratedBundle> Generate(const model::Model& model,
                                           const v1::RolloutLease& lease);
  absl::StatusOr<v1::WorkerMessage> ReportOf(const v1::RolloutLease& lease,
                                             const GeneratedBundle& bundle);

  DriverSession& session_;
  const std::string token_;
  const PolicyText& policy_;
  const std::unique_ptr<BundleGenerator> generator_;
  std::unique_ptr<Installer> installer_;
};

absl::Status RolloutRole::Run() {
  while (true) {
    RETORT_ASSIGN_OR_RETURN(const std::optional<v1::DriverMessage> command, session_.NextCommand());
    if (!command.has_value()) return absl::OkStatus();
    if (!command->has_rollout_lease()) {
      LogWarning("command ignored: not a rollout worker's kind={}",
                 static_cast<int>(command->kind_case()));
      continue;
    }
    const v1::RolloutLease& lease = command->rollout_lease();
    const absl::Status status = Act(lease);
    if (status.ok() || session_.stopping()) continue;
    LogError("generation failed step={} bundle={} error=\"{}\"", lease.bundle().step(),
             lease.bundle().index(), status.ToString());
    RETORT_RETURN_IF_ERROR(session_.ReportFailure(lease.fence(), status));
  }
}

absl::Status RolloutRole::OpenRing(absl::Duration timeout) {
  const int lag = session_.welcome().spec().algorithm().lag();
  RETORT_ASSIGN_OR_RETURN(const ring::BrokerAddress broker, BrokerOf(session_.welcome(), token_));
  RETORT_ASSIGN_OR_RETURN(
      ring::Segment segment,
      OpenWeightSegment(broker, session_.welcome().job_id(), WeightRingShapeOf(policy_.config, lag),
                        ring::Access::kReadOnly, timeout));
  RETORT_ASSIGN_OR_RETURN(installer_,
                          Installer::Open(std::move(segment), policy_.config, lag, timeout));
  return absl::OkStatus();
}

absl::Status RolloutRole::Act(const v1::RolloutLease& lease) {
  const absl::Duration deadline = absl::Milliseconds(lease.deadline_ms());
  if (installer_ == nullptr) RETORT_RETURN_IF_ERROR(OpenRing(deadline));
  RETORT_ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(lease.version_digest()));
  RETORT_ASSIGN_OR_RETURN(const InstalledVersion installed,
                          installer_->Install({.version = lease.version(),
                                               .digest = digest,
                                               .min_epoch = lease.fence().epoch(),
                                               .timeout = deadline}));
  const absl::Duration start = Clock::Real()->Now();
  RETORT_ASSIGN_OR_RETURN(const GeneratedBundle bundle, Generate(*installed.model, lease));
  const absl::Duration took = Clock::Real()->Now() - start;
  RETORT_RETURN_IF_ERROR(installer_->StillHolds());
  RETORT_ASSIGN_OR_RETURN(v1::WorkerMessage message, ReportOf(lease, bundle));
  message.mutable_rollout_report()->set_generate_seconds(absl::ToDoubleSeconds(took));
  message.mutable_rollout_report()->set_install_seconds(
      absl::ToDoubleSeconds(installed.install_time));
  RETORT_RETURN_IF_ERROR(session_.Send(message));
  return Failpoint("rollout.after_report");
}

absl::StatusOr<GeneratedBundle> RolloutRole::Generate(const model::Model& model,
                                                      const v1::RolloutLease& lease) {
  BundleRequest request;
  request.bundle = lease.bundle();
  request.version = lease.version();
  request.first_slot = lease.first_slot();
  request.rows.assign(lease.rows().begin(), lease.rows().end());
  return generator_->Generate(model, request, [&](int64_t tokens) -> absl::Status {
    RETORT_RETURN_IF_ERROR(Failpoint("rollout.generate"));
    if (session_.stopping()) return absl::CancelledError("the session ends");
    session_.ReportProgress(lease.fence(), tokens);
    return absl::OkStatus();
  });
}

absl::StatusOr<v1::WorkerMessage> RolloutRole::ReportOf(const v1::RolloutLease& lease,
                                                        const GeneratedBundle& bundle) {
  const artifact::Rollout& rollout = bundle.rollout;
  v1::WorkerMessage message;
  v1::RolloutReport& report = *message.mutable_rollout_report();
  *report.mutable_fence() = lease.fence();
  *report.mutable_bundle() = lease.bundle();
  report.set_version(lease.version());
  report.set_version_digest(lease.version_digest());
  report.set_generated_tokens(bundle.generated_tokens);
  for (v1::SampleText& text :
       SampleTexts(bundle, SampleTextsOf(session_.welcome().spec(), lease.bundle()))) {
    *report.add_samples() = std::move(text);
  }
  if (lease.bundle().kind() == v1::BUNDLE_KIND_EVAL) {
    *report.mutable_eval() = TotalsOf(bundle);
    return message;
  }
  report.mutable_prompt_lengths()->Add(rollout.prompt_lengths.begin(),
                                       rollout.prompt_lengths.end());
  report.mutable_response_lengths()->Add(rollout.response_lengths.begin(),
                                         rollout.response_lengths.end());
  RETORT_ASSIGN_OR_RETURN(std::string encoded, artifact::Encode(rollout));
  RETORT_ASSIGN_OR_RETURN(
      *report.mutable_artifact(),
      session_.Hold(lease.bundle().step(), artifact::RolloutArtifactId(lease.bundle()),
                    std::move(encoded)));
  return message;
}

}  // namespace

absl::Status RunRollout(DriverSession& session, const std::string& token) {
  const v1::JobSpec& spec = session.welcome().spec();
  RETORT_ASSIGN_OR_RETURN(const PolicyText policy, LoadPolicyText(spec));
  RETORT_ASSIGN_OR_RETURN(std::unique_ptr<BundleGenerator> generator,
                          BundleGenerator::Make(spec, &policy));
  return RolloutRole(session, token, policy, std::move(generator)).Run();
}

}  // namespace retort::worker
