#include "driver/service/job_setup.h"

#include <algorithm>
#include <memory>

#include "common/base/status_macros.h"
#include "common/data/cursor.h"
#include "common/job/input_digests.h"
#include "common/job/learner_collective.h"
#include "common/rpc/build_version.h"

namespace retort::driver {
absl::StatusOr<JobSetup> SetUpJob(const v1::JobSpec& spec, const job::Plan& plan,
                                  const std::string& run_dir, bool external) {
  JobSetup setup;
  ScheduleConfig& config = setup.schedule;
  config.reinforcement = spec.algorithm().type() != v1::ALGORITHM_TYPE_SFT;
  config.steps = plan.steps;
  config.lag = config.reinforcement ? spec.algorithm().lag() : 0;
  config.slots_per_step = plan.slots_per_step;
  config.samples_per_slot = config.reinforcement ? spec.data().samples_per_prompt() : 1;
  config.bundle_slots = std::max<int64_t>(spec.rollout().bundle_prompts(), 1);
  config.eval_every = plan.eval_rows > 0 ? spec.eval().every() : 0;
  config.eval_rows = plan.eval_rows;
  config.eval_bundle_rows = std::max<int64_t>(spec.rollout().max_batch(), 1);
  config.checkpoint_every = spec.output().checkpoint_every();
  config.keep_checkpoints = spec.output().keep();
  config.max_bad_steps = spec.algorithm().max_bad_steps();
  config.rollouts = config.scorers = config.learners = 0;
  for (const job::RolePlan& role : plan.roles) {
    v1::Role key = v1::ROLE_LEARNER;
    if (role.role == "rollout") key = v1::ROLE_ROLLOUT;
    if (role.role == "scorer") key = v1::ROLE_SCORER;
    int& count = key == v1::ROLE_ROLLOUT  ? config.rollouts
                 : key == v1::ROLE_SCORER ? config.scorers
                                          : config.learners;
    count = role.processes;
    setup.threads[key] = role.threads;
  }
  config.collective = job::LearnerCollective(spec);
  if (config.collective == v1::COLLECTIVE_KIND_MPI && !external) {
    return absl::FailedPreconditionError(
        "cluster.learner.collective is mpi, but this run starts its workers itself; use shm or "
        "auto, or start the workers with mpirun (--workers=external)");
  }
  config.export_path = run_dir + "/model";
  const auto cursor = std::make_shared<data::RowCursor>(plan.train_rows, plan.slots_per_step,
                                                        spec.data().shuffle(), spec.seed());
  config.rows_of_step = [cursor](int64_t step) { return cursor->RowsOfStep(step); };
  return setup;
}

absl::StatusOr<std::map<std::string, std::string>> IdentifyInputs(const v1::JobSpec& spec) {
  RETORT_ASSIGN_OR_RETURN(job::InputDigests inputs, job::DigestInputs(spec));
  inputs["build"] = std::string(rpc::BuildVersion());
  return inputs;
}

}  // namespace retort::driver
