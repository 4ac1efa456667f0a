// What the schedule must know of a job: numbers, no files. And what a resumed run knows already.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/base/digest.h"
#include "retort/v1/job.pb.h"

namespace retort::driver {

struct ScheduleConfig {
  bool reinforcement = true;  // false (SFT): no TRAIN bundles; TrainStep carries dataset rows.
  int64_t steps = 1;
  int lag = 0;
  int64_t slots_per_step = 1;  // Prompts (rl) or rows (sft).
  int samples_per_slot = 1;
  int64_t bundle_slots = 1;
  int64_t eval_every = 0;  // 0: never.
  int64_t eval_rows = 0;
  int64_t eval_bundle_rows = 1;
  int64_t checkpoint_every = 50;
  int keep_checkpoints = 2;
  int max_bad_steps = 3;
  int rollouts = 1;
  int scorers = 1;
  int learners = 1;
  v1::CollectiveKind collective = v1::COLLECTIVE_KIND_AUTO;
  std::string export_path;  // Where the finished model goes.
  // Dataset rows of a step, `slots_per_step` of them; a pure function (data/cursor.h).
  std::function<std::vector<int64_t>(int64_t step)> rows_of_step;

  // Times a lease may pass without progress: max(floor, 5 x p99 of its phase so far). A worker that
  // computes makes progress, also inside one large micro-batch; one that waits or is stopped does
  // not.
  double lease_floor_seconds = 10;
  // One that computes for ever without finishing a unit (a token, a micro-batch) hangs, too.
  double unit_limit_seconds = 7200;
  // Phases that send no progress while they wait for a disk: loading, forming a group, checkpoints,
  // export.
  double storage_floor_seconds = 120;
  int max_bundle_attempts = 25;  // A bundle that fails this often ends the job.
  double stop_seconds = 22;      // After a stop request the running step is dropped at this age.

  int64_t TrainBundles() const {
    return reinforcement ? (slots_per_step + bundle_slots - 1) / bundle_slots : 0;
  }
  int64_t EvalBundles() const {
    return eval_every > 0 ? (eval_rows + eval_bundle_rows - 1) / eval_bundle_rows : 0;
  }
  // Whether policy version `version` is evaluated.
  bool Evaluates(int64_t version) const {
    if (EvalBundles() == 0) return false;
    return version == 0 || version == steps || version % eval_every == 0;
  }
  int64_t VersionOf(int64_t step) const { return step > lag ? step - lag : 0; }
};

// What was journaled for a committed step. Step -1 stands for the start: its weights are version 0.
struct CommitDigests {
  std::string weight_digest;  // Of version step + 1.
  std::string state_digest;
  bool bad_step = false;
};

// What the journal knows when a run (re)starts; empty for a new run.
struct History {
  uint64_t epoch = 1;                        // The first epoch of this start.
  std::vector<int64_t> checkpoints;          // Steps, ascending; verified by whoever restores.
  std::map<int64_t, CommitDigests> commits;  // -1 .. last committed step, without holes.
  std::map<int64_t, std::vector<Digest>>
      bundles;                        // Step -> digest of each TRAIN bundle (zero: unknown).
  std::map<int64_t, bool> evaluated;  // Versions with a recorded evaluation.
};

}  // namespace retort::driver
