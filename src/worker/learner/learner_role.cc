#include "worker/learner/learner_role.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/ring/fd_broker.h"
#include "common/ring/weight_ring.h"
#include "worker/agent/report_text.h"
#include "worker/learner/learner.h"
#include "worker/learner/learner_group.h"
#include "worker/weight_sync/weight_artifact.h"
#include "worker/weight_sync/weight_segment.h"

namespace retort::worker {
namespace {

constexpr absl::Duration kSegmentDeadline = absl::Seconds(30);

// Acts on one command after the other. A command that fails is reported with its fence; the driver
// decides.
using Report = std::optional<v1::WorkerMessage>;

class LearnerRole {
 public:
  LearnerRole(DriverSession& session, const LearnerOptions& options, LearnerJob job)
      : session_(session), options_(options), job_(std::move(job)) {}
  ~LearnerRole() {
    session_.SetArrivalHook(nullptr);
    StopServing();
  }

  absl::Status Run();

 private:
  absl::Status ServeBroker();
  absl::Status Handle(const v1::DriverMessage& command);
  // The work of one command and what to tell the driver of it, if anything.
  absl::StatusOr<Report> Work(const v1::DriverMessage& command, v1::Fence* fence);
  absl::StatusOr<Report> Form(const v1::FormGroup& command);
  GroupPlace GroupPlaceOver(const ring::BrokerAddress& broker);
  absl::Status OpenPublisher(uint64_t epoch, const ring::BrokerAddress& broker);
  absl::Status ServeOtherHosts(const ring::BrokerAddress& broker);
  // What serves other hosts reads the publisher's ring, which waits for its readers when it ends.
  void StopServing() { session_.ServeAlso(std::string(kWeightArtifactPrefix), nullptr); }
  absl::StatusOr<Report> Train(const v1::TrainStep& command);
  absl::StatusOr<bool> Fetch(const v1::TrainStep& command, StepInput* input);
  v1::WorkerMessage ReportOf(const v1::TrainStep& command, const TrainedStep& trained) const;
  absl::StatusOr<Report> Checkpoint(const v1::WriteCheckpoint& command);
  absl::StatusOr<Report> Export(const v1::ExportModel& command);
  std::function<absl::Status()> Progress(const v1::Fence& fence);
  bool IsStale(uint64_t epoch) const { return learner_ == nullptr || epoch != epoch_; }

  DriverSession& session_;
  const LearnerOptions options_;
  const LearnerJob job_;
  std::unique_ptr<ring::FdBroker> broker_;
  AbortableGroup abortable_;
  GroupRendezvous rendezvous_;
  std::unique_ptr<Publisher> publisher_;  // Of rank 0.
  uint64_t publisher_epoch_ = 0;
  std::unique_ptr<Learner> learner_;  // Goes before its publisher.
  uint64_t epoch_ = 0;
  std::atomic<int64_t> units_{0};  // Of the step: artifacts fetched, micro-batches trained.
};

absl::Status LearnerRole::Run() {
  RETORT_RETURN_IF_ERROR(ServeBroker());
  // A rank that waits for its peers must hear of a new group, or of the end, at once.
  session_.SetArrivalHook([this](const v1::DriverMessage* command) {
    rendezvous_.OnArrival(command);
    if (command == nullptr) {
      abortable_.Abort("this rank was asked to stop");
    } else if (command->has_form_group()) {
      abortable_.Abort("the driver forms a new group");
    }
  });
  RETORT_RETURN_IF_ERROR(session_.Ready());
  while (true) {
    RETORT_ASSIGN_OR_RETURN(const std::optional<v1::DriverMessage> command, session_.NextCommand());
    if (!command.has_value()) return absl::OkStatus();
    RETORT_RETURN_IF_ERROR(Handle(*command));
  }
}

absl::Status LearnerRole::ServeBroker() {
  const v1::SharedMemoryPlan& plan = session_.welcome().shared_memory();
  if (!plan.serve_broker()) return absl::OkStatus();
  ring::FdBrokerOptions options;
  options.socket = plan.broker_socket();
  options.token = options_.token;
  RETORT_ASSIGN_OR_RETURN(broker_, ring::FdBroker::Start(options));
  return absl::OkStatus();
}

// Errors returned from here end the process; those of the work itself are reported. The report goes
// out when the group is at rest: it may be what the driver waits for before it ends the process,
// and the end breaks a group in use.
absl::Status LearnerRole::Handle(const v1::DriverMessage& command) {
  v1::Fence fence;
  const absl::StatusOr<Report> report = Work(command, &fence);
  if (report.ok()) return report->has_value() ? session_.Send(**report) : absl::OkStatus();
  if (session_.stopping()) return absl::OkStatus();
  LogError("command failed step={} error=\"{}\"", fence.step(), report.status().ToString());
  return session_.ReportFailure(fence, report.status());
}

absl::StatusOr<Report> LearnerRole::Work(const v1::DriverMessage& command, v1::Fence* fence) {
  const AbortableGroup::Use use(&abortable_);
  if (command.has_form_group()) {
    fence->set_epoch(command.form_group().epoch());
    return Form(command.form_group());
  }
  if (command.has_train_step()) {
    *fence = command.train_step().fence();
    return Train(command.train_step());
  }
  if (command.has_write_checkpoint()) {
    fence->set_epoch(command.write_checkpoint().epoch());
    fence->set_step(command.write_checkpoint().step());
    return Checkpoint(command.write_checkpoint());
  }
  if (command.has_export_model()) {
    fence->set_epoch(command.export_model().epoch());
    return Export(command.export_model());
  }
  if (command.has_group_identity()) return std::nullopt;  // Taken as it arrived.
  LogWarning("command ignored: not a learner's kind={}", static_cast<int>(command.kind_case()));
  return std::nullopt;
}

absl::StatusOr<Report> LearnerRole::Form(const v1::FormGroup& command) {
  learner_.reset();
  abortable_.Reset();
  epoch_ = command.epoch();
  RETORT_ASSIGN_OR_RETURN(const ring::BrokerAddress broker,
                          BrokerOf(session_.welcome(), options_.token));
  RETORT_ASSIGN_OR_RETURN(std::shared_ptr<collective::Collective> group,
                          MakeLearnerGroup(command, GroupPlaceOver(broker)));
  abortable_.Set(group);
  const bool publishes = command.rank() == 0 && UsesWeightRing(job_.spec);
  if (publishes) RETORT_RETURN_IF_ERROR(OpenPublisher(command.epoch(), broker));
  RETORT_ASSIGN_OR_RETURN(learner_,
                          Learner::Start(&job_, group, publisher_.get(), command.checkpoint()));
  if (publishes) RETORT_RETURN_IF_ERROR(ServeOtherHosts(broker));
  LogInfo("group formed epoch={} generation={} rank={} world_size={} step={} weights={}",
          command.epoch(), command.generation(), command.rank(), command.world_size(),
          learner_->state().step, learner_->state().weight_digest.ToHex());
  v1::WorkerMessage message;
  v1::LearnerReady& ready = *message.mutable_learner_ready();
  ready.set_epoch(command.epoch());
  ready.set_generation(command.generation());
  ready.set_step(learner_->state().step);
  ready.set_weight_digest(learner_->state().weight_digest.ToHex());
  if (job_.model.adapted()) ready.set_base_digest(job_.model.base_digest().ToHex());
  for (const v1::PublishedVersion& published : learner_->published())
    *ready.add_published() = published;
  return message;
}

GroupPlace LearnerRole::GroupPlaceOver(const ring::BrokerAddress& broker) {
  GroupPlace place;
  place.job_id = session_.welcome().job_id();
  place.broker = broker;
  place.mpi = options_.mpi;
  if (options_.gpu != nullptr) {
    place.gpu = &options_.gpu->plugin;
    place.device = options_.gpu->info.index;
  }
  place.rendezvous = &rendezvous_;
  place.announce = [this](const v1::GroupIdentity& identity) {
    v1::WorkerMessage message;
    *message.mutable_group_identity() = identity;
    return session_.Send(message);
  };
  return place;
}

// One for all groups of an epoch: the memory of a GPU that rollout workers have open stays where it
// is when a rank is replaced.
absl::Status LearnerRole::OpenPublisher(uint64_t epoch, const ring::BrokerAddress& broker) {
  if (publisher_ != nullptr && publisher_epoch_ == epoch) {
    publisher_->StartOver();
    return absl::OkStatus();
  }
  StopServing();
  publisher_.reset();
  RETORT_ASSIGN_OR_RETURN(ring::Segment ring,
                          OpenWeightSegment(broker, session_.welcome().job_id(), job_.ring_shape(),
                                            ring::Access::kReadWrite, kSegmentDeadline));
  RETORT_ASSIGN_OR_RETURN(publisher_, Publisher::Open(std::move(ring), job_.model,
                                                      job_.ring_shape(), epoch, options_.gpu));
  publisher_epoch_ = epoch;
  return absl::OkStatus();
}

// A mapping of its own: what is being sent goes on when this group's learner is gone.
absl::Status LearnerRole::ServeOtherHosts(const ring::BrokerAddress& broker) {
  const ring::WeightRingShape shape = job_.ring_shape();
  const bool host = shape.transport == ring::TransportKind::kHost;
  RETORT_ASSIGN_OR_RETURN(
      ring::Segment segment,
      OpenWeightSegment(broker, session_.welcome().job_id(), shape,
                        host ? ring::Access::kReadOnly : ring::Access::kReadWrite,
                        kSegmentDeadline));
  RETORT_ASSIGN_OR_RETURN(
      rpc::ArtifactLookup lookup,
      host ? ServeWeights(std::move(segment), kSegmentDeadline)
           : ServeGpuWeights(std::move(segment), shape, *options_.gpu, kSegmentDeadline));
  session_.ServeAlso(std::string(kWeightArtifactPrefix), std::move(lookup));
  return absl::OkStatus();
}

std::function<absl::Status()> LearnerRole::Progress(const v1::Fence& fence) {
  return [this, fence]() -> absl::Status {
    RETORT_RETURN_IF_ERROR(Failpoint("learner.micro_batch"));
    if (session_.stopping()) return absl::CancelledError("the session ends");
    session_.ReportProgress(fence, ++units_);
    return absl::OkStatus();
  };
}

absl::StatusOr<Report> LearnerRole::Train(const v1::TrainStep& command) {
  if (IsStale(command.fence().epoch())) return std::nullopt;
  units_ = 0;
  StepInput input;
  RETORT_ASSIGN_OR_RETURN(const bool complete, Fetch(command, &input));
  if (!complete) return std::nullopt;
  RETORT_ASSIGN_OR_RETURN(
      const TrainedStep trained,
      learner_->Train(command.fence().step(), std::move(input), Progress(command.fence())));
  RETORT_RETURN_IF_ERROR(Failpoint("learner.before_report"));
  return ReportOf(command, trained);
}

// False when some rank lacks an artifact: all ranks then wait for the next attempt.
absl::StatusOr<bool> LearnerRole::Fetch(const v1::TrainStep& command, StepInput* input) {
  if (!job_.reinforcement()) {
    input->rows.assign(command.rows().begin(), command.rows().end());
    return true;
  }
  const absl::Duration start = Clock::Real()->Now();
  const std::vector<v1::TrainBundle> bundles(command.bundles().begin(), command.bundles().end());
  const absl::Duration deadline = DriverSession::FetchDeadline(command.deadline_ms());
  const absl::StatusOr<FetchedBundles> fetched =
      FetchBundles(bundles, [&](const v1::ArtifactRef& ref) -> absl::StatusOr<std::string> {
        RETORT_ASSIGN_OR_RETURN(std::string bytes, session_.Fetch(ref, deadline));
        session_.ReportProgress(command.fence(), ++units_);
        return bytes;
      });
  const int64_t lacking = fetched.ok() ? static_cast<int64_t>(fetched->failures.size()) : 1;
  const at::Tensor total = at::tensor({lacking}, at::kLong);
  RETORT_RETURN_IF_ERROR(learner_->group().AllReduceSum(total));
  RETORT_RETURN_IF_ERROR(fetched.status());
  for (const FetchFailure& failure : fetched->failures) {
    LogWarning("fetch failed artifact={} address={} error=\"{}\"", failure.ref.artifact_id(),
               failure.ref.address(), failure.status.ToString());
    v1::WorkerMessage message;
    v1::FetchFailed& report = *message.mutable_fetch_failed();
    *report.mutable_fence() = command.fence();
    *report.mutable_bundle() = failure.bundle;
    report.set_artifact_id(failure.ref.artifact_id());
    report.set_address(failure.ref.address());
    report.set_message(ReportText(failure.status.message(), kMaxFailureBytes));
    RETORT_RETURN_IF_ERROR(session_.Send(message));
  }
  if (total.item<int64_t>() > 0) return false;
  input->bundles = *std::move(fetched);
  input->fetch_seconds = absl::ToDoubleSeconds(Clock::Real()->Now() - start);
  return true;
}

v1::WorkerMessage LearnerRole::ReportOf(const v1::TrainStep& command,
                                        const TrainedStep& trained) const {
  v1::WorkerMessage message;
  v1::TrainReport& report = *message.mutable_train_report();
  *report.mutable_fence() = command.fence();
  report.set_rank(learner_->group().rank());
  *report.mutable_published() = trained.published;
  report.set_state_digest(trained.state_digest.ToHex());
  report.set_bad_step(trained.outcome.bad);
  report.set_bad_batch_path(trained.bad_batch_path);
  if (learner_->group().rank() == 0) *report.mutable_record() = trained.outcome.record;
  return message;
}

absl::StatusOr<Report> LearnerRole::Checkpoint(const v1::WriteCheckpoint& command) {
  if (IsStale(command.epoch())) return std::nullopt;
  RETORT_ASSIGN_OR_RETURN(const Digest manifest,
                          learner_->WriteCheckpoint(command.step(), command.epoch()));
  v1::WorkerMessage message;
  v1::CheckpointReport& report = *message.mutable_checkpoint_report();
  report.set_epoch(command.epoch());
  report.set_step(command.step());
  report.set_rank(learner_->group().rank());
  report.set_name(command.name());
  if (learner_->group().rank() == 0) report.set_manifest_digest(manifest.ToHex());
  return message;
}

absl::StatusOr<Report> LearnerRole::Export(const v1::ExportModel& command) {
  if (IsStale(command.epoch())) return std::nullopt;
  RETORT_ASSIGN_OR_RETURN(const Digest weights, learner_->Export(command.path()));
  v1::WorkerMessage message;
  v1::ExportReport& report = *message.mutable_export_report();
  report.set_epoch(command.epoch());
  report.set_path(command.path());
  report.set_weight_digest(weights.ToHex());
  return message;
}

}  // namespace

absl::Status RunLearner(DriverSession& session, const LearnerOptions& options) {
  RETORT_ASSIGN_OR_RETURN(LearnerJob job,
                          LoadLearnerJob(session.welcome().spec(), session.welcome().run_dir(),
                                         PlaceOf(session.welcome().spec(), options.gpu)));
  return LearnerRole(session, options, std::move(job)).Run();
}

}  // namespace retort::worker
