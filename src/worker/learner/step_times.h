// Where a step's time went, under the record's names.
#pragma once

#include "retort/v1/record.pb.h"
#include "worker/learner/step_clock.h"

namespace retort::worker {

// phase_seconds {fetch, train, reduce, publish}; for PPO also the scalars time/ppo/*; and
// learner/tokens_per_second, over the time from fetch to publish.
void AddStepTimes(const StepClock& clock, bool ppo, v1::StepRecord* record);

}  // namespace retort::worker
