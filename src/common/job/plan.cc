#include "common/job/plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/job/applicability.h"
#include "common/job/checks.h"
#include "common/job/learner_collective.h"
#include "common/job/plan_data.h"
#include "common/job/plan_devices.h"
#include "common/job/plan_memory.h"
#include "common/job/plan_model.h"
#include "common/text/pattern.h"

namespace retort::job {
namespace {

absl::Status CheckThreads(const std::string& pool, int threads, const FieldPositions& at,
                          const HostFacts& host) {
  if (threads <= host.cores) return absl::OkStatus();
  return at.Error(absl::StrCat("cluster.", pool, ".threads"),
                  absl::StrCat("is ", threads, " in one process; expected at most ", host.cores,
                               ", the cores of this host"));
}

absl::Status CheckPools(const v1::JobSpec& spec, const FieldPositions& at, const HostFacts& host) {
  const v1::ClusterSpec& cluster = spec.cluster();
  if (cluster.has_rollout()) {
    RETORT_RETURN_IF_ERROR(CheckThreads("rollout", cluster.rollout().threads(), at, host));
  }
  if (cluster.has_scorer()) {
    RETORT_RETURN_IF_ERROR(CheckThreads("scorer", cluster.scorer().threads(), at, host));
  }
  return CheckThreads("learner", cluster.learner().threads(), at, host);
}

absl::Status CheckRewards(const v1::JobSpec& spec, const FieldPositions& at) {
  for (int i = 0; i < spec.rewards_size(); ++i) {
    if (!spec.rewards(i).has_regex()) continue;
    const auto pattern = text::Pattern::Compile(spec.rewards(i).regex().pattern());
    if (!pattern.ok()) return at.Wrap(absl::StrCat("rewards.", i, ".pattern"), pattern.status());
  }
  return absl::OkStatus();
}

void PlanWork(const v1::JobSpec& spec, Plan* plan) {
  plan->name = spec.name();
  plan->algorithm = IsPpo(spec) ? "ppo" : "sft";
  plan->steps = spec.algorithm().steps();
  plan->lag = spec.algorithm().lag();
  if (!IsPpo(spec)) {
    plan->slots_per_step = spec.algorithm().sft().batch_size();
    plan->samples_per_step = plan->slots_per_step;
    plan->updates_per_step = 1;
    return;
  }
  const v1::PpoSpec& ppo = spec.algorithm().ppo();
  plan->slots_per_step = spec.data().prompts_per_step();
  plan->samples_per_step = plan->slots_per_step * spec.data().samples_per_prompt();
  const int64_t mini = ppo.mini_batch_size() == 0 ? plan->samples_per_step : ppo.mini_batch_size();
  plan->updates_per_step = ppo.ppo_epochs() * (plan->samples_per_step / mini);
  const int64_t bundle = spec.rollout().bundle_prompts();
  plan->bundles_per_step = (plan->slots_per_step + bundle - 1) / bundle;
}

void PlanRewards(const v1::JobSpec& spec, Plan* plan) {
  const auto* const kind = v1::RewardSpec::descriptor()->FindOneofByName("kind");
  for (const v1::RewardSpec& reward : spec.rewards()) {
    const auto* const field = reward.GetReflection()->GetOneofFieldDescriptor(reward, kind);
    plan->rewards.push_back(
        absl::StrCat(field == nullptr ? "none" : field->name(), " x ", reward.weight()));
  }
}

void PlanImportanceSampling(const v1::JobSpec& spec, Plan* plan) {
  if (!IsPpo(spec)) return;
  const bool truncated = spec.rollout().top_k() > 0 || spec.rollout().top_p() < 1;
  const bool off_policy = plan->lag > 0 || truncated;
  const v1::ImportanceSampling mode = spec.algorithm().ppo().importance_sampling();
  plan->importance_sampling = mode == v1::IMPORTANCE_SAMPLING_TOKEN_TRUNCATE ||
                              (mode == v1::IMPORTANCE_SAMPLING_AUTO && off_policy);
  if (off_policy && !plan->importance_sampling) {
    plan->notes.push_back(
        absl::StrCat("samples are off-policy (",
                     plan->lag > 0 ? absl::StrCat("lag ", plan->lag) : "top_k / top_p",
                     ") and algorithm.ppo.importance_sampling none does not correct it"));
  }
}

void PlanParameters(const PlannedModels& models, Plan* plan) {
  for (const layout::ParameterEntry& entry : models.policy.entries) {
    plan->parameters += entry.elements;
  }
  for (const layout::ParameterEntry& entry : models.trained.entries) {
    plan->trainable_parameters += entry.elements;
    if (entry.role == layout::ParameterRole::kLoraA) ++plan->adapted_matrices;
  }
  plan->trainable_bytes = models.trained.total_elements * static_cast<int64_t>(sizeof(float));
  if (models.adapter.has_value()) plan->adapter_rank = models.adapter->rank;
}

void AddClusterNotes(const v1::JobSpec& spec, const HostFacts& host, Plan* plan) {
  if (plan->total_threads > host.cores) {
    plan->notes.push_back(
        absl::StrCat("oversubscribed: ", plan->total_threads, " threads on ", host.cores,
                     " cores (roles take turns, so some is harmless; with lag > 0 they overlap)"));
  }
  const int64_t ranks = spec.cluster().learner().ranks();
  const int64_t update = plan->samples_per_step /
                         std::max<int64_t>(1, plan->updates_per_step /
                                                  std::max(1, spec.algorithm().ppo().ppo_epochs()));
  if (ranks > 1) plan->gradients = absl::StrCat(ranks, " ranks, summed ", DescribeCollective(spec));
  if (ranks > update) {
    plan->notes.push_back(absl::StrCat(ranks, " learner ranks share ", update,
                                       " samples an update: some have nothing to do"));
  }
  if (plan->bundles_per_step > 0 && spec.cluster().rollout().workers() > plan->bundles_per_step) {
    plan->notes.push_back(absl::StrCat(spec.cluster().rollout().workers(),
                                       " rollout workers share ", plan->bundles_per_step,
                                       " bundles a step: some have nothing to do; lower "
                                       "rollout.bundle_prompts"));
  }
  if (spec.cluster().learner().collective() == v1::COLLECTIVE_KIND_MPI) {
    plan->notes.push_back("collective mpi: start the workers with mpirun (deploy/mpirun.sh)");
  }
}

}  // namespace

int64_t RolePlan::host_bytes() const {
  int64_t bytes = 0;
  for (const MemoryItem& item : memory) {
    if (!item.shared && (!on_gpu || item.on_host)) bytes += item.bytes;
  }
  return bytes;
}

int64_t RolePlan::gpu_bytes() const {
  int64_t bytes = 0;
  for (const MemoryItem& item : memory) {
    if (on_gpu && !item.on_host) bytes += item.bytes;
  }
  return bytes;
}

absl::StatusOr<Plan> MakePlan(const v1::JobSpec& spec, const FieldPositions& positions,
                              const HostFacts& host) {
  RETORT_RETURN_IF_ERROR(CheckConsistency(spec, positions));
  RETORT_RETURN_IF_ERROR(CheckPools(spec, positions, host));
  RETORT_RETURN_IF_ERROR(CheckRewards(spec, positions));
  Plan plan;
  plan.cores = host.cores;
  PlanWork(spec, &plan);
  PlanRewards(spec, &plan);
  PlanImportanceSampling(spec, &plan);
  RETORT_ASSIGN_OR_RETURN(const PlannedModels models, PlanModels(spec, positions, &plan.notes));
  PlanParameters(models, &plan);
  plan.context = models.config.max_position_embeddings;
  plan.tokenizer_digest = models.tokenizer->digest();
  RETORT_RETURN_IF_ERROR(PlanData(spec, positions, models, &plan));
  RETORT_RETURN_IF_ERROR(PlanMemory(spec, positions, models, host, &plan));
  RETORT_RETURN_IF_ERROR(PlanDevices(spec, positions, host, &plan));
  AddClusterNotes(spec, host, &plan);
  return plan;
}

absl::StatusOr<Plan> MakePlan(const v1::JobSpec& spec) {
  return MakePlan(spec, FieldPositions(), ThisHost(spec.output().dir()));
}

absl::StatusOr<std::string> PlanCommand(const std::string& path,
                                        absl::Span<const std::string> overrides,
                                        bool workers_elsewhere) {
  RETORT_ASSIGN_OR_RETURN(LoadedJob job, LoadJobWithPositions(path, overrides));
  RecordBegin(absl::Now(), &job.spec);
  HostFacts host = ThisHost(job.spec.output().dir());
  if (workers_elsewhere) host.gpus = nullptr;
  RETORT_ASSIGN_OR_RETURN(Plan plan, MakePlan(job.spec, job.positions, host));
  const absl::Status free = CheckOutputDir(job.spec, job.positions);
  // The plan of a run that is there already is worth a look.
  if (!free.ok() && free.code() != absl::StatusCode::kFailedPrecondition) return free;
  if (!free.ok()) plan.notes.push_back(std::string(free.message()));
  return Describe(plan);
}

}  // namespace retort::job
