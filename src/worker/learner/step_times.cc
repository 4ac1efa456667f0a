#include "worker/learner/step_times.h"

#include <string>

#include "worker/learner/record_number.h"

namespace retort::worker {

void AddStepTimes(const StepClock& clock, bool ppo, v1::StepRecord* record) {
  auto& phases = *record->mutable_phase_seconds();
  auto& scalars = *record->mutable_scalars();
  const double fetch = clock.Seconds("fetch");
  const double reduce = clock.Seconds("reduce");
  const double publish = clock.Seconds("publish");
  const double total = clock.Total();  // Without the fetch, which came before the clock.
  PutNumber(phases, "fetch", fetch);
  PutNumber(phases, "reduce", reduce);
  PutNumber(phases, "publish", publish);
  PutNumber(phases, "train", total - reduce - publish);

  const auto tokens = scalars.find(std::string("num_tokens"));
  if (tokens != scalars.end()) {
    PutNumber(scalars, "learner/tokens_per_second", tokens->second / (fetch + total));
  }
  if (!ppo) return;
  for (const char* part : {"forward_pass", "compute_rewards", "compute_advantages", "calc_stats"}) {
    PutNumber(scalars, std::string("time/ppo/") + part, clock.Seconds(part));
  }
  PutNumber(scalars, "time/ppo/optimize_step",
            clock.Seconds("backward") + reduce + clock.Seconds("apply"));
  PutNumber(scalars, "time/ppo/total", total);
}

}  // namespace retort::worker
