#include "driver/store/journal.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "driver/store/journal_schema.h"

namespace retort::driver {
namespace {

int64_t NowMillis() { return absl::ToUnixMillis(absl::Now()); }

std::string PackLengths(const JournalBundle& entry) {
  std::string packed;
  for (const auto* lengths : {&entry.prompt_lengths, &entry.response_lengths}) {
    packed.append(reinterpret_cast<const char*>(lengths->data()),
                  lengths->size() * sizeof(int32_t));
  }
  return packed;
}

absl::string_view NameOfEvent(BundleEventKind kind) {
  switch (kind) {
    case BundleEventKind::kLeased:
      return "leased";
    case BundleEventKind::kReported:
      return "reported";
    case BundleEventKind::kScoreLeased:
      return "score_leased";
    case BundleEventKind::kScored:
      return "scored";
    case BundleEventKind::kLost:
      return "lost";
    case BundleEventKind::kScoreLost:
      return "score_lost";
    case BundleEventKind::kOrphaned:
      return "orphaned";
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> Journal::Create(const std::string& path,
                                                         const JobIdentity& identity) {
  std::unique_ptr<Journal> journal(new Journal(path));
  RETORT_ASSIGN_OR_RETURN(journal->database_, Database::Create(path));
  RETORT_RETURN_IF_ERROR(journal->Begin());
  RETORT_RETURN_IF_ERROR(CreateTables(*journal->database_));
  RETORT_ASSIGN_OR_RETURN(
      Statement job, journal->database_->Prepare(
                         "INSERT INTO job (job_id, spec, inputs, created_ms) VALUES (?,?,?,?)"));
  std::string inputs;
  for (const auto& [name, value] : identity.inputs)
    absl::StrAppend(&inputs, name, "\t", value, "\n");
  RETORT_RETURN_IF_ERROR(job.Bind(1, identity.job_id)
                             .Bind(2, SpecToText(identity.spec))
                             .Bind(3, inputs)
                             .Bind(4, NowMillis())
                             .Run());
  RETORT_RETURN_IF_ERROR(journal->PrepareWrites());
  return journal;
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& path) {
  std::unique_ptr<Journal> journal(new Journal(path));
  RETORT_ASSIGN_OR_RETURN(journal->database_, Database::Open(path));
  RETORT_RETURN_IF_ERROR(CheckTables(*journal->database_, path));
  RETORT_RETURN_IF_ERROR(journal->PrepareWrites());
  return journal;
}

absl::Status Journal::PrepareWrites() {
  const std::pair<Statement*, const char*> statements[] = {
      {&bundle_,
       "INSERT INTO bundles (epoch, kind, step, idx, attempt, event, worker, incarnation, digest, "
       "lengths, cause, unix_ms) VALUES ((SELECT MAX(epoch) FROM epochs),?,?,?,?,?,?,?,?,?,?,?)"},
      {&commit_,
       "INSERT INTO commits (step, epoch, weight_digest, state_digest, bad_step, received_bytes, "
       "record, "
       "unix_ms) VALUES (?,(SELECT MAX(epoch) FROM epochs),?,?,?,?,?,?)"},
      {&checkpoint_,
       "INSERT INTO checkpoints (step, name, manifest_digest, state, message, unix_ms) "
       "VALUES (?,?,?,?,?,?)"},
      {&checkpoint_state_,
       "UPDATE checkpoints SET state=?, message=? WHERE name=? AND state='kept'"},
      {&epoch_, "INSERT INTO epochs (epoch, step, cause, unix_ms) VALUES (?,?,?,?)"},
      {&eval_, "INSERT INTO evals (version, record, unix_ms) VALUES (?,?,?)"},
      {&worker_,
       "INSERT INTO workers (worker, incarnation, event, pid, cause, unix_ms) VALUES "
       "(?,?,?,?,?,?)"}};
  for (const auto& [statement, sql] : statements) {
    RETORT_ASSIGN_OR_RETURN(*statement, database_->Prepare(sql));
  }
  return absl::OkStatus();
}

absl::Status Journal::Begin() {
  if (in_transaction_) return absl::OkStatus();
  in_transaction_ = true;
  return database_->Execute("BEGIN IMMEDIATE");
}

absl::Status Journal::Flush() {
  if (!in_transaction_) return absl::OkStatus();
  RETORT_RETURN_IF_ERROR(Failpoint("driver.journal.before_commit"));
  RETORT_RETURN_IF_ERROR(database_->Execute("COMMIT"));
  in_transaction_ = false;
  return Failpoint("driver.journal.after_commit");
}

absl::Status Journal::Write(const JournalBundle& entry) {
  RETORT_RETURN_IF_ERROR(Begin());
  const bool nobody = entry.worker.role == v1::ROLE_UNSPECIFIED;
  return bundle_.Bind(1, entry.bundle.kind() == v1::BUNDLE_KIND_EVAL ? "eval" : "train")
      .Bind(2, entry.bundle.step())
      .Bind(3, entry.bundle.index())
      .Bind(4, entry.attempt)
      .Bind(5, NameOfEvent(entry.kind))
      .Bind(6, nobody ? "" : NameOf(entry.worker))
      .Bind(7, entry.incarnation)
      .Bind(8, entry.digest)
      .BindBlob(9, PackLengths(entry))
      .Bind(10, entry.cause)
      .Bind(11, NowMillis())
      .Run();
}

absl::Status Journal::Write(const JournalCommit& entry, int64_t received_bytes) {
  RETORT_RETURN_IF_ERROR(Begin());
  return commit_.Bind(1, entry.step)
      .Bind(2, entry.weight_digest)
      .Bind(3, entry.state_digest)
      .Bind(4, int64_t{entry.bad_step})
      .Bind(5, received_bytes)
      .BindBlob(6, entry.record.SerializeAsString())
      .Bind(7, NowMillis())
      .Run();
}

absl::Status Journal::Write(const JournalCheckpoint& entry) {
  RETORT_RETURN_IF_ERROR(Begin());
  return checkpoint_.Bind(1, entry.step)
      .Bind(2, entry.name)
      .Bind(3, entry.manifest_digest)
      .Bind(4, "kept")
      .Bind(5, "")
      .Bind(6, NowMillis())
      .Run();
}

absl::Status Journal::Write(const CheckpointFailed& entry) {
  RETORT_RETURN_IF_ERROR(Begin());
  return checkpoint_.Bind(1, entry.step)
      .Bind(2, entry.name)
      .Bind(3, "")
      .Bind(4, "failed")
      .Bind(5, entry.message)
      .Bind(6, NowMillis())
      .Run();
}

absl::Status Journal::Write(const DropCheckpoint& entry) {
  return SetCheckpointState(entry.name, "dropped", "");
}

absl::Status Journal::Write(const CheckpointUnusable& entry) {
  return SetCheckpointState(entry.name, "unusable", entry.message);
}

absl::Status Journal::SetCheckpointState(const std::string& name, absl::string_view state,
                                         absl::string_view message) {
  RETORT_RETURN_IF_ERROR(Begin());
  return checkpoint_state_.Bind(1, state).Bind(2, message).Bind(3, name).Run();
}

absl::Status Journal::Write(const JournalEpoch& entry) {
  RETORT_RETURN_IF_ERROR(Begin());
  return epoch_.Bind(1, static_cast<int64_t>(entry.epoch))
      .Bind(2, entry.step)
      .Bind(3, entry.cause)
      .Bind(4, NowMillis())
      .Run();
}

absl::Status Journal::Write(const JournalEval& entry) {
  RETORT_RETURN_IF_ERROR(Begin());
  return eval_.Bind(1, entry.record.version())
      .BindBlob(2, entry.record.SerializeAsString())
      .Bind(3, NowMillis())
      .Run();
}

absl::Status Journal::Write(const WorkerEvent& entry) {
  RETORT_RETURN_IF_ERROR(Begin());
  const absl::string_view event = entry.kind == WorkerEventKind::kSpawned  ? "spawned"
                                  : entry.kind == WorkerEventKind::kJoined ? "joined"
                                                                           : "lost";
  return worker_.Bind(1, NameOf(entry.worker))
      .Bind(2, entry.incarnation)
      .Bind(3, event)
      .Bind(4, entry.pid)
      .Bind(5, entry.cause)
      .Bind(6, NowMillis())
      .Run();
}

}  // namespace retort::driver
