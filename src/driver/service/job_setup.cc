#include "driver/service/job_setup.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/data/cursor.h"
#include "common/rpc/build_version.h"

namespace retort::driver {
namespace {

absl::Status HashFile(const std::string& path, Hasher& hasher) {
  constexpr int64_t kChunk = 4 << 20;
  RETORT_ASSIGN_OR_RETURN(const int64_t size, FileSize(path));
  RETORT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenRegularFile(path));
  std::string chunk(std::min(size, kChunk), '\0');
  for (int64_t offset = 0; offset < size; offset += kChunk) {
    const int64_t bytes = std::min(kChunk, size - offset);
    RETORT_RETURN_IF_ERROR(ReadAt(fd.get(), path, offset, bytes, chunk.data()));
    hasher.Update(chunk.data(), bytes);
  }
  return absl::OkStatus();
}

}  // namespace

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
  config.collective = spec.cluster().learner().collective();
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

absl::StatusOr<Digest> DigestOfModelFolder(const std::string& folder) {
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(folder));
  Hasher hasher;
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".json") && !absl::EndsWith(name, ".safetensors") &&
        !absl::EndsWith(name, ".model")) {
      continue;
    }
    hasher.Update(absl::StrCat(name, "\n"));
    RETORT_RETURN_IF_ERROR(HashFile(absl::StrCat(folder, "/", name), hasher));
  }
  return hasher.Finish();
}

absl::StatusOr<std::map<std::string, std::string>> IdentifyInputs(const v1::JobSpec& spec,
                                                                  const job::Plan& plan) {
  std::map<std::string, std::string> inputs;
  inputs["build"] = std::string(rpc::BuildVersion());
  inputs["data.train"] = plan.train_digest.ToHex();
  inputs["data.validation"] = plan.validation_digest.ToHex();
  inputs["tokenizer"] = plan.tokenizer_digest.ToHex();
  const std::string& policy =
      spec.policy().has_path() ? spec.policy().path() : spec.policy().init().config();
  RETORT_ASSIGN_OR_RETURN(const Digest policy_digest, DigestOfModelFolder(policy));
  inputs["policy"] = policy_digest.ToHex();
  if (spec.reference().has_path()) {
    RETORT_ASSIGN_OR_RETURN(const Digest digest, DigestOfModelFolder(spec.reference().path()));
    inputs["reference"] = digest.ToHex();
  }
  return inputs;
}

}  // namespace retort::driver
