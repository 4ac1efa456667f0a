// Whether a journal is whole enough to go on from: each table is checked against what the others
// promise.
#pragma once

#include "absl/status/status.h"
#include "driver/schedule/config.h"
#include "driver/store/journal.h"

namespace retort::driver {

// DATA_LOSS naming the table and what it lacks: checkpoints (a run longer than checkpoint_every has
// one), bundles (every replayable step has all its digests), workers (every role has joined), evals
// (what the oldest checkpoint cannot redo).
absl::Status CheckResumable(Journal& journal, const ScheduleConfig& config, const History& history);

// FAILED_PRECONDITION naming what differs: a resume with other data, models or another build would
// not repeat the run.
absl::Status CheckSameInputs(const JobIdentity& journaled, const JobIdentity& now);

// Waits until no process of the run before is left (they die with their agent, within moments): two
// generations of workers must not write the same files. FAILED_PRECONDITION naming one that lives
// on after `timeout`.
absl::Status AwaitOrphans(Journal& journal, absl::Duration timeout);

}  // namespace retort::driver
