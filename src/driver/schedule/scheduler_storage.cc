// Checkpoints and the export: work of the learner group between steps.
#include <utility>

#include "absl/strings/str_cat.h"
#include "driver/schedule/scheduler.h"

namespace retort::driver {

bool Scheduler::CheckpointDue() const {
  if (current_ == 0 || NewestCheckpoint() == current_ || group_.failed_checkpoint == current_)
    return false;
  return stopping_ || current_ == config_.steps || current_ % config_.checkpoint_every == 0;
}

void Scheduler::SendCheckpoint() {
  group_.phase = LearnerGroup::kCheckpointing;
  group_.checkpoint_reports.clear();
  group_.checkpoint_failures.clear();
  for (int rank = 0; rank < learners_.size(); ++rank) {
    v1::DriverMessage message;
    message.mutable_write_checkpoint()->set_epoch(epoch_);
    message.mutable_write_checkpoint()->set_step(current_);
    message.mutable_write_checkpoint()->set_name(CheckpointName(current_));
    learners_.Begin(rank, Task{Phase::kCheckpoint, epoch_, current_, 0, 0}, now_);
    Send({v1::ROLE_LEARNER, rank}, std::move(message));
  }
}

void Scheduler::OnCheckpointReport(int rank, const v1::CheckpointReport& report) {
  const WorkerId id{v1::ROLE_LEARNER, rank};
  if (group_.phase != LearnerGroup::kCheckpointing || report.epoch() != epoch_ ||
      report.step() != current_ || learners_.task(rank).phase != Phase::kCheckpoint) {
    return Refuse(id, "a stale CheckpointReport");
  }
  learners_.Finish(rank, true, times_, now_);
  group_.checkpoint_reports[rank] = report;
  FinishCheckpoint();
}

void Scheduler::FinishCheckpoint() {
  const size_t answers = group_.checkpoint_reports.size() + group_.checkpoint_failures.size();
  if (answers < static_cast<size_t>(learners_.size())) return;
  group_.phase = LearnerGroup::kIdle;
  const std::string name = CheckpointName(current_);
  if (!group_.checkpoint_failures.empty()) {
    const std::string message = absl::StrCat(
        "checkpoint ", name, " was not written: ", group_.checkpoint_failures.begin()->second);
    if (current_ == config_.steps) {
      return Fail(message, {v1::ROLE_LEARNER, group_.checkpoint_failures.begin()->first});
    }
    group_.failed_checkpoint = current_;  // Go on training; the older ones stay.
    Emit(CheckpointFailed{current_, name, message});
    return;
  }
  checkpoints_.push_back(current_);
  Emit(JournalCheckpoint{current_, name, group_.checkpoint_reports[0].manifest_digest()});
  while (static_cast<int>(checkpoints_.size()) > config_.keep_checkpoints) {
    Emit(DropCheckpoint{CheckpointName(checkpoints_.front())});
    checkpoints_.erase(checkpoints_.begin());
  }
  // A replay starts at a kept checkpoint: older digests can no longer be compared.
  bundle_digests_.erase(bundle_digests_.begin(), bundle_digests_.lower_bound(checkpoints_.front()));
}

void Scheduler::SendExport() {
  group_.phase = LearnerGroup::kExporting;
  v1::DriverMessage message;
  message.mutable_export_model()->set_epoch(epoch_);
  message.mutable_export_model()->set_path(config_.export_path);
  // Every rank holds the whole model: one of them writes it.
  learners_.Begin(0, Task{Phase::kExport, epoch_, current_, 0, 0}, now_);
  Send({v1::ROLE_LEARNER, 0}, std::move(message));
}

void Scheduler::OnExportReport(const v1::ExportReport& report) {
  const WorkerId id{v1::ROLE_LEARNER, 0};
  if (group_.phase != LearnerGroup::kExporting || report.epoch() != epoch_) {
    return Refuse(id, "a stale ExportReport");
  }
  learners_.Finish(0, true, times_, now_);
  if (report.weight_digest() != WeightDigest(current_)) {
    return Fail(absl::StrCat("the exported model has digest ", report.weight_digest(),
                             ", expected ", WeightDigest(current_)),
                id);
  }
  group_.phase = LearnerGroup::kIdle;
  group_.exported = true;
  group_.exported_path = report.path();
  NoteLearnerProgress();
}

}  // namespace retort::driver
