#include "worker/learner/ppo_step.h"

#include <utility>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/objective/kl_controller.h"
#include "common/objective/lr_schedule.h"
#include "common/tensor/torch_process.h"
#include "worker/learner/ppo_prepare.h"
#include "worker/learner/ppo_record.h"
#include "worker/learner/ppo_update.h"

namespace retort::worker {
namespace {

// The state after a bad step: it counts, and nothing else moved.
StepOutcome BadStep(const StepSamples& samples, const checkpoint::TrainerState& state,
                    std::string why) {
  StepOutcome outcome;
  outcome.bad = true;
  outcome.why = std::move(why);
  outcome.state = state;
  ++outcome.state.step;
  ++outcome.state.bad_steps;
  outcome.record = RecordOfBadStep(samples, state.step);
  LogWarning("bad step step={} in_a_row={} why=\"{}\"", state.step, outcome.state.bad_steps,
             outcome.why);
  return outcome;
}

checkpoint::TrainerState NextState(const PpoSettings& settings,
                                   const checkpoint::TrainerState& state,
                                   const PreparedStep& prepared, const PpoUpdates& updates,
                                   double kl, int64_t samples) {
  objective::KlController controller(settings.kl);
  controller.Restore(state.kl_coef);
  controller.Update(kl, samples);
  checkpoint::TrainerState next = state;
  next.step = state.step + 1;
  next.optimizer_steps = state.optimizer_steps + updates.applied;
  next.bad_steps = 0;
  next.kl_coef = controller.value();
  next.score_moments = prepared.moments;
  return next;
}

}  // namespace

absl::StatusOr<StepOutcome> RunPpoStep(const TrainingContext& context, const PpoSettings& settings,
                                       const StepSamples& samples,
                                       const checkpoint::TrainerState& state, StepClock* clock) {
  RETORT_ASSIGN_OR_RETURN(const PreparedStep prepared,
                          PreparePpoStep(context, settings, samples, state, clock));
  if (!prepared.finite) return BadStep(samples, state, prepared.not_finite + " are not finite");
  const double learning_rate = objective::LearningRateAt(context.lr_schedule, state.step);
  RETORT_ASSIGN_OR_RETURN(const PpoUpdates updates,
                          RunPpoUpdates(context, settings, samples, prepared, state.step,
                                        state.optimizer_steps + 1, learning_rate, clock));
  if (!updates.finite) return BadStep(samples, state, updates.not_finite);

  StepOutcome outcome;
  RETORT_ASSIGN_OR_RETURN(PpoRecord measured, clock->Time("calc_stats", [&] {
    return RecordOfPpoStep({.context = &context,
                            .settings = &settings,
                            .samples = &samples,
                            .prepared = &prepared,
                            .updates = &updates,
                            .step = state.step,
                            .kl_coef = state.kl_coef,
                            .learning_rate = learning_rate});
  }));
  outcome.record = std::move(measured.record);
  outcome.state = NextState(settings, state, prepared, updates, measured.kl, samples.count());
  return outcome;
}

}  // namespace retort::worker
