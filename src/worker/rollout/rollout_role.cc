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
#include "worker/agent/report_text.h"
#include "worker/rollout/bundle_generator.h"
#include "worker/weight_sync/installer.h"
#include "worker/weight_sync/policy_model.h"
#include "worker/weight_sync/policy_source.h"
#include "worker/weight_sync/weight_artifact.h"
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
  RolloutRole(DriverSession& session, const RolloutOptions& options, const PolicyModel& policy,
              std::unique_ptr<BundleGenerator> generator)
      : session_(session), options_(options), policy_(policy), generator_(std::move(generator)) {}

  absl::Status Run();

 private:
  absl::StatusOr<Installer*> InstallerFor(const v1::RolloutLease& lease);
  absl::Status OpenRing(absl::Duration timeout);
  absl::Status OpenFetching();
  absl::Status Fetch(const std::string& address, const std::string& id, absl::Duration deadline,
                     const rpc::ArtifactSink& sink);
  absl::StatusOr<InstalledVersion> Install(Installer& installer, const v1::RolloutLease& lease);
  absl::Status ReportFetchFailed(const v1::RolloutLease& lease, const absl::Status& failure);
  absl::Status Act(const v1::RolloutLease& lease);
  absl::StatusOr<GeneratedBundle> Generate(const model::Model& model,
                                           const v1::RolloutLease& lease);
  absl::StatusOr<v1::WorkerMessage> ReportOf(const v1::RolloutLease& lease, const Digest& weights,
                                             const GeneratedBundle& bundle);

  DriverSession& session_;
  const RolloutOptions options_;
  const PolicyModel policy_;
  const std::unique_ptr<BundleGenerator> generator_;
  std::unique_ptr<Installer> ring_;  // On the publisher's host; opened in ring_epoch_.
  uint64_t ring_epoch_ = 0;
  std::unique_ptr<Installer> fetching_;  // Elsewhere.
  v1::Fence fence_;                      // Of the lease at work.
  int64_t units_ = 0;                    // Progress of its fetch.
};

absl::Status RolloutRole::Run() {
  RETORT_RETURN_IF_ERROR(session_.Ready());
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

// By the holder's host, never by what happens to work: a ring that should be here and is not is an
// error.
absl::StatusOr<Installer*> RolloutRole::InstallerFor(const v1::RolloutLease& lease) {
  const v1::WeightHolder& holder = lease.weights();
  if (holder.address().empty() || holder.host_identity().empty()) {
    return absl::InvalidArgumentError("the lease does not say who holds the policy's weights");
  }
  RETORT_RETURN_IF_ERROR(CheckBase(policy_, holder.base_digest()));
  if (holder.host_identity() != session_.host_identity()) {
    if (fetching_ == nullptr) RETORT_RETURN_IF_ERROR(OpenFetching());
    return fetching_.get();
  }
  // A new epoch may have a new learner-0, and where no agent serves the broker, with it a new ring.
  if (ring_ == nullptr || ring_epoch_ != lease.fence().epoch()) {
    ring_epoch_ = lease.fence().epoch();
    ring_.reset();
    RETORT_RETURN_IF_ERROR(WithContext(
        OpenRing(DriverSession::FetchDeadline(lease.deadline_ms())),
        absl::StrCat("this worker counts as on learner-0's host (", holder.host_identity(),
                     "); give it another --host-identity if they share no memory")));
  }
  return ring_.get();
}

absl::Status RolloutRole::OpenFetching() {
  WeightFetcher fetch = [this](const std::string& address, const std::string& id,
                               absl::Duration deadline, const rpc::ArtifactSink& sink) {
    return Fetch(address, id, deadline, sink);
  };
  RETORT_ASSIGN_OR_RETURN(fetching_, Installer::Fetching(policy_, std::move(fetch)));
  return absl::OkStatus();
}

// Every chunk is progress, and the last one if the session ends meanwhile.
absl::Status RolloutRole::Fetch(const std::string& address, const std::string& id,
                                absl::Duration deadline, const rpc::ArtifactSink& sink) {
  if (session_.stopping()) return absl::CancelledError("the session ends");
  rpc::ArtifactSink watched = sink;
  watched.data = [&](absl::string_view bytes) -> absl::Status {
    if (session_.stopping()) return absl::CancelledError("the session ends");
    session_.ReportProgress(fence_, ++units_);
    return sink.data(bytes);
  };
  return session_.Stream(address, id, deadline, watched);
}

absl::Status RolloutRole::OpenRing(absl::Duration timeout) {
  const v1::JobSpec& spec = session_.welcome().spec();
  const int lag = spec.algorithm().lag();
  const ring::WeightRingShape shape = WeightRingShapeOf(policy_, lag, WeightTransportOf(spec));
  const bool host = shape.transport == ring::TransportKind::kHost;
  RETORT_ASSIGN_OR_RETURN(const ring::BrokerAddress broker,
                          BrokerOf(session_.welcome(), options_.token));
  RETORT_ASSIGN_OR_RETURN(
      ring::Segment segment,
      OpenWeightSegment(broker, session_.welcome().job_id(), shape,
                        host ? ring::Access::kReadOnly : ring::Access::kReadWrite, timeout));
  // On one host a CPU computes what the other does; a CPU and a GPU round differently.
  const bool same_kind = spec.cluster().learner().device() == spec.cluster().rollout().device();
  RETORT_ASSIGN_OR_RETURN(
      ring_, host ? Installer::Open(std::move(segment), policy_, lag, timeout,
                                    same_kind ? CanaryRule::kBitwise : CanaryRule::kWithinTolerance)
                  : Installer::OnGpu(std::move(segment), policy_, shape, *options_.gpu, timeout));
  LogInfo("weight ring opened transport=\"{}\"", host ? "host memory" : "GPU memory (CUDA IPC)");
  return absl::OkStatus();
}

absl::Status RolloutRole::Act(const v1::RolloutLease& lease) {
  fence_ = lease.fence();
  units_ = 0;
  RETORT_ASSIGN_OR_RETURN(Installer* const installer, InstallerFor(lease));
  const absl::StatusOr<InstalledVersion> tried = Install(*installer, lease);
  if (installer == fetching_.get() && absl::IsDeadlineExceeded(tried.status())) {
    return ReportFetchFailed(lease, tried.status());
  }
  RETORT_ASSIGN_OR_RETURN(const InstalledVersion installed, tried);
  const absl::Duration start = Clock::Real()->Now();
  RETORT_ASSIGN_OR_RETURN(const GeneratedBundle bundle, Generate(*installed.model, lease));
  const absl::Duration took = Clock::Real()->Now() - start;
  RETORT_RETURN_IF_ERROR(installer->StillHolds());
  RETORT_ASSIGN_OR_RETURN(v1::WorkerMessage message, ReportOf(lease, installed.digest, bundle));
  message.mutable_rollout_report()->set_generate_seconds(absl::ToDoubleSeconds(took));
  message.mutable_rollout_report()->set_install_seconds(
      absl::ToDoubleSeconds(installed.install_time));
  RETORT_RETURN_IF_ERROR(session_.Send(message));
  return Failpoint("rollout.after_report");
}

absl::StatusOr<InstalledVersion> RolloutRole::Install(Installer& installer,
                                                      const v1::RolloutLease& lease) {
  RETORT_ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(lease.version_digest()));
  return installer.Install({.version = lease.version(),
                            .digest = digest,
                            .min_epoch = lease.fence().epoch(),
                            .holder = lease.weights().address(),
                            .timeout = DriverSession::FetchDeadline(lease.deadline_ms())});
}

absl::Status RolloutRole::ReportFetchFailed(const v1::RolloutLease& lease,
                                            const absl::Status& failure) {
  LogWarning("weights not fetched version={} address={} error=\"{}\"", lease.version(),
             lease.weights().address(), failure.ToString());
  RETORT_ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(lease.version_digest()));
  v1::WorkerMessage message;
  v1::FetchFailed& report = *message.mutable_fetch_failed();
  *report.mutable_fence() = lease.fence();
  *report.mutable_bundle() = lease.bundle();
  report.set_artifact_id(WeightArtifactId(lease.version(), lease.fence().epoch(), digest));
  report.set_address(lease.weights().address());
  report.set_message(ReportText(failure.message(), kMaxFailureBytes));
  return session_.Send(message);
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
    session_.ReportProgress(lease.fence(), units_ + tokens);
    return absl::OkStatus();
  });
}

absl::StatusOr<v1::WorkerMessage> RolloutRole::ReportOf(const v1::RolloutLease& lease,
                                                        const Digest& weights,
                                                        const GeneratedBundle& bundle) {
  const artifact::Rollout& rollout = bundle.rollout;
  v1::WorkerMessage message;
  v1::RolloutReport& report = *message.mutable_rollout_report();
  *report.mutable_fence() = lease.fence();
  *report.mutable_bundle() = lease.bundle();
  report.set_version(lease.version());
  report.set_version_digest(weights.ToHex());
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

absl::Status RunRollout(DriverSession& session, const RolloutOptions& options) {
  const v1::JobSpec& spec = session.welcome().spec();
  RETORT_ASSIGN_OR_RETURN(const PolicyText policy, LoadPolicyText(spec));
  RETORT_ASSIGN_OR_RETURN(std::unique_ptr<BundleGenerator> generator,
                          BundleGenerator::Make(spec, &policy));
  RETORT_ASSIGN_OR_RETURN(
      const PolicyModel model,
      LoadPolicyModel(spec, policy.config, /*value_head=*/false, PlaceOf(spec, options.gpu)));
  return RolloutRole(session, options, model, std::move(generator)).Run();
}

}  // namespace retort::worker
