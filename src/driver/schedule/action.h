// What the schedule wants done, in this order. A journal action must be durable before a later Send
// of the same list leaves: workers act on what was journaled.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "driver/cluster/worker_id.h"
#include "retort/v1/control.pb.h"
#include "retort/v1/record.pb.h"

namespace retort::driver {

// Leases, FormGroup, GroupIdentity, TrainStep, WriteCheckpoint, ExportModel, ReleaseArtifacts.
struct SendMessage {
  WorkerId worker;
  v1::DriverMessage message;
};

// End this process and start another in its place.
struct KillWorker {
  WorkerId worker;
  std::string cause;
  bool its_fault = true;  // false: it is replaced because a peer was lost.
};

// kOrphaned: its holder died while the step trains; the learners may have it already.
enum class BundleEventKind {
  kLeased,
  kReported,
  kScoreLeased,
  kScored,
  kLost,
  kScoreLost,
  kOrphaned
};
struct JournalBundle {
  BundleEventKind kind;
  v1::BundleId bundle;
  int attempt = 0;
  WorkerId worker;
  std::string incarnation;
  std::string digest;                                     // kReported, kScored: of the artifact.
  std::vector<int32_t> prompt_lengths, response_lengths;  // kReported.
  std::string cause;                                      // kLost, kScoreLost, kOrphaned.
};

// Step `step` is done: never undone, and a replay must reproduce it. Step -1: version 0 exists.
struct JournalCommit {
  int64_t step = 0;
  std::string weight_digest;  // Of version step + 1.
  std::string state_digest;
  bool bad_step = false;
  v1::StepRecord record;
};

struct JournalCheckpoint {
  int64_t step = 0;
  std::string name;
  std::string manifest_digest;
};
// The checkpoint could not be written; training goes on, the older ones stay.
struct CheckpointFailed {
  int64_t step = 0;
  std::string name;
  std::string message;
};
// Older than what the job keeps: forget it, then delete it.
struct DropCheckpoint {
  std::string name;
};
// Before ranks restore: whatever else lies in checkpoints/ was never committed and is removed.
struct CleanCheckpoints {
  std::vector<std::string> keep;
};
// The checkpoint cannot be restored; an older one is used.
struct CheckpointUnusable {
  std::string name;
  std::string message;
};

// The run goes on from `step` in a new epoch.
struct JournalEpoch {
  uint64_t epoch = 0;
  int64_t step = 0;
  std::string cause;
};

struct JournalEval {
  v1::EvalRecord record;
};

// `worker` got on with its work: what it did wrong before is forgiven. Of a learner: a step was
// committed that never was before, or the model exported.
struct ProgressNoted {
  WorkerId worker;
};
// Handled and counted, for the log.
struct Warn {
  std::string message;
};

// The job ends. Failed: `message` says what was wrong and what to do; `worker` names whose log
// tells more.
struct JobFailed {
  std::string message;
  WorkerId worker;         // Role unspecified: none.
  bool bad_input = false;  // A file or value of the job is at fault: trying again does not help.
};
struct JobDone {
  std::string weight_digest;
  std::string model_path;
};
// After StopRequested. The run can be resumed from its newest checkpoint.
struct JobStopped {};

using Action =
    std::variant<SendMessage, KillWorker, JournalBundle, JournalCommit, JournalCheckpoint,
                 CheckpointFailed, DropCheckpoint, CleanCheckpoints, CheckpointUnusable,
                 JournalEpoch, JournalEval, ProgressNoted, Warn, JobFailed, JobDone, JobStopped>;

}  // namespace retort::driver
