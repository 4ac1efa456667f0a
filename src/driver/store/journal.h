// RUN/journal.db: what a run did, and all that a resume believes. Writes gather in one transaction
// until Flush(); every table is needed on resume and is cross-checked against the others
// (resume_check.h).
//
//   schema_versions  table name -> version of its columns
//   job              one row: the resolved job and the digests of all that it reads
//   epochs           every start and rewind: epoch, step it went on from, cause
//   bundles          every lease, report and loss of a bundle, in order
//   commits          one row a step (-1: the start): digests, received bytes, the step's record
//   checkpoints      kept, dropped, failed, unusable
//   workers          every start and end of a process
//   evals            one row a evaluated version
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "driver/schedule/action.h"
#include "driver/schedule/config.h"
#include "driver/store/sqlite.h"
#include "retort/v1/job.pb.h"

namespace retort::driver {

// What must be equal when a run is resumed.
struct JobIdentity {
  std::string job_id;
  v1::JobSpec spec;
  // "data.train", "data.validation", "tokenizer", "policy", "reference", "build" -> digest or text.
  std::map<std::string, std::string> inputs;
};

enum class WorkerEventKind { kSpawned, kJoined, kLost };
struct WorkerEvent {
  WorkerEventKind kind;
  WorkerId worker;
  std::string incarnation;
  int64_t pid = 0;
  std::string cause;  // kLost.
};
// A process that joined and whose end was not journaled.
struct OpenWorker {
  std::string worker;
  std::string incarnation;
  int64_t pid = 0;
};

// Not thread-safe. All errors name the file; after an error the journal must not be used any more.
class Journal {
 public:
  // Makes the tables in a new file. ALREADY_EXISTS if `path` is there. They are there with the
  // first Flush, which must have the first epoch: a journal has both or neither.
  static absl::StatusOr<std::unique_ptr<Journal>> Create(const std::string& path,
                                                         const JobIdentity& identity);
  // Whether an epoch was journaled at `path`. An error if that cannot be known.
  static absl::StatusOr<bool> HasBegun(const std::string& path);
  // DATA_LOSS naming the table that is missing or has another version.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& path);

  absl::Status Write(const JournalBundle& entry);
  // `received_bytes`: what workers sent to the driver since the commit before.
  absl::Status Write(const JournalCommit& entry, int64_t received_bytes);
  absl::Status Write(const JournalCheckpoint& entry);
  absl::Status Write(const DropCheckpoint& entry);
  absl::Status Write(const CheckpointUnusable& entry);
  absl::Status Write(const CheckpointFailed& entry);
  absl::Status Write(const JournalEpoch& entry);
  absl::Status Write(const JournalEval& entry);
  absl::Status Write(const WorkerEvent& entry);
  // Makes everything written durable. Cheap when nothing was.
  absl::Status Flush();

  // DATA_LOSS if the row is missing or does not parse.
  absl::StatusOr<JobIdentity> ReadIdentity();
  // What the schedule needs, for the epoch after the last one. DATA_LOSS where rows are missing
  // that must be there.
  absl::StatusOr<History> ReadHistory(int64_t bundles_per_step);
  absl::StatusOr<std::vector<v1::StepRecord>> ReadStepRecords();
  absl::StatusOr<std::vector<v1::EvalRecord>> ReadEvalRecords();
  absl::StatusOr<std::vector<OpenWorker>> ReadOpenWorkers();
  // How many processes of each role ever joined, by role name.
  absl::StatusOr<std::map<std::string, int64_t>> CountJoined();
  absl::StatusOr<int64_t> CountRows(const std::string& table);

  const std::string& path() const { return path_; }

 private:
  explicit Journal(std::string path) : path_(std::move(path)) {}
  absl::Status Begin();
  absl::Status PrepareWrites();
  static absl::Status ForEachRow(Statement statement,
                                 const std::function<absl::Status(const Statement&)>& visit);
  absl::Status ReadCommits(History& history);
  absl::Status ReadBundleDigests(int64_t bundles_per_step, History& history);
  absl::Status SetCheckpointState(const std::string& name, absl::string_view state,
                                  absl::string_view message);
  absl::Status Damaged(absl::string_view what) const;

  const std::string path_;
  std::unique_ptr<Database> database_;
  bool in_transaction_ = false;
  Statement bundle_, commit_, checkpoint_, checkpoint_state_, epoch_, eval_, worker_;
};

}  // namespace retort::driver
