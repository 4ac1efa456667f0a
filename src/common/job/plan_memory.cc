#include "common/job/plan_memory.h"

#include <algorithm>
#include <initializer_list>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/job/applicability.h"

namespace retort::job {
namespace {

constexpr int64_t kFloatBytes = 4;

// One step's log-prob artifacts of `kl_penalty: full`: a learner holds them all, and the artifact
// service carries no single one above 4 GiB.
constexpr int64_t kMaxFullReferenceBytes = int64_t{4} << 30;

// A product that saturates: sizes come from a job file and must not wrap.
int64_t Product(std::initializer_list<int64_t> factors) {
  __int128 product = 1;
  for (const int64_t factor : factors) {
    product = std::min<__int128>(product * factor, std::numeric_limits<int64_t>::max());
  }
  return static_cast<int64_t>(product);
}

// Floats that one token keeps alive in every layer until backward.
int64_t ActivationsPerTokenAndLayer(const layout::ModelConfig& config) {
  const int64_t kv = config.num_key_value_heads * config.head_dim;
  const int64_t q = config.num_attention_heads * config.head_dim;
  return 4 * config.hidden_size + 2 * (q + kv) + 3 * config.intermediate_size;
}

class MemoryPlanner {
 public:
  MemoryPlanner(const v1::JobSpec& spec, const PlannedModels& models, Plan* plan)
      : spec_(spec), models_(models), plan_(*plan) {}

  void AddRoles() {
    const v1::ClusterSpec& cluster = spec_.cluster();
    if (IsPpo(spec_)) {
      Add("scorer", cluster.scorer(), cluster.scorer().workers(), ScorerMemory());
    }
    if (IsPpo(spec_) || plan_.eval_rows > 0) {
      Add("rollout", cluster.rollout(), cluster.rollout().workers(), RolloutMemory());
    }
    Add("learner", cluster.learner(), cluster.learner().ranks(), LearnerMemory());
  }

 private:
  template <typename Pool>
  void Add(const char* role, const Pool& pool, int processes, std::vector<MemoryItem> memory) {
    plan_.roles.push_back(
        {role, processes, pool.threads(), std::move(memory), pool.device() == v1::DEVICE_CUDA});
    plan_.total_threads += processes * pool.threads();
  }

  bool OnGpu(v1::Device device) const { return device == v1::DEVICE_CUDA; }
  // Of what a role on `device` computes with, in the policy's type.
  int64_t ElementBytes(v1::Device device) const {
    const bool half = OnGpu(device) && spec_.policy().dtype() == v1::DATA_TYPE_BFLOAT16;
    return half ? kFloatBytes / 2 : kFloatBytes;
  }

  // Tokens of the largest forward pass that trains or scores.
  int64_t MicroBatchTokens() const {
    return std::min(spec_.optimizer().micro_batch_tokens(),
                    Product({plan_.samples_per_step, plan_.longest_sequence}));
  }

  bool UpdatesMoreThanOnceAStep() const {
    const v1::PpoSpec& ppo = spec_.algorithm().ppo();
    const int64_t mini_batch = ppo.mini_batch_size();
    return IsPpo(spec_) &&
           (ppo.ppo_epochs() > 1 || (mini_batch > 0 && mini_batch < plan_.samples_per_step));
  }

  std::vector<MemoryItem> ScorerMemory() const {
    const layout::ModelConfig& config = models_.config;
    const bool half = spec_.reference().dtype() == v1::DATA_TYPE_BFLOAT16;
    // The first weights: a new adapter changes nothing yet, one from a folder does. It stays fp32.
    const bool adapted = !spec_.reference().has_path() && spec_.policy().lora().has_path();
    const int64_t adapter = adapted ? models_.trained.published_elements : 0;
    return {{"weights",
             Product({models_.reference_elements, half ? 2 : kFloatBytes}) +
                 Product({adapter, kFloatBytes}),
             false},
            {"activations (estimate)",
             Product({MicroBatchTokens(), kFloatBytes,
                      ActivationsPerTokenAndLayer(config) + config.vocab_size}),
             false}};
  }

  std::vector<MemoryItem> RolloutMemory() const {
    const layout::ModelConfig& config = models_.config;
    const v1::Device device = spec_.cluster().rollout().device();
    const int64_t batch = spec_.rollout().max_batch();
    const int64_t length = plan_.longest_prompt + spec_.rollout().max_new_tokens();
    std::vector<MemoryItem> memory = {
        {"KV cache",
         Product({batch, length, config.num_hidden_layers, 2 * config.num_key_value_heads,
                  config.head_dim, ElementBytes(device)}),
         false},
        {"logits", Product({batch, config.vocab_size, kFloatBytes}), false}};
    if (models_.adapter.has_value()) {
      memory.push_back({"base weights",
                        Product({models_.policy.published_elements, ElementBytes(device)}), false});
    }
    // A ring in the host's memory is of no use to a GPU.
    if (OnGpu(device) && !OnGpu(spec_.cluster().learner().device())) {
      memory.push_back(
          {"weights", Product({models_.trained.published_elements, kFloatBytes}), false});
    }
    return memory;
  }

  std::vector<MemoryItem> LearnerMemory() const {
    const layout::ModelConfig& config = models_.config;
    const int64_t arena = Product({models_.trained.total_elements, kFloatBytes});
    const v1::Device device = spec_.cluster().learner().device();
    const bool shared = spec_.cluster().learner().ranks() > 1 && !OnGpu(device);
    std::vector<MemoryItem> memory = {
        {"weights", arena, false},
        {shared ? "gradients (shared memory)" : "gradients", arena, false},
        {"moments", Product({2, arena}), false},
        {"activations (estimate)",
         Product({MicroBatchTokens(), kFloatBytes,
                  Product({ActivationsPerTokenAndLayer(config), config.num_hidden_layers}) +
                      2 * config.vocab_size}),
         false}};
    if (spec_.policy().dtype() == v1::DATA_TYPE_BFLOAT16 && !models_.adapter.has_value()) {
      memory.push_back({"weights rounded to bfloat16", arena / 2, false});
    }
    if (UpdatesMoreThanOnceAStep()) {
      memory.push_back({"copy to undo a bad step", Product({3, arena}), false});
    }
    if (models_.adapter.has_value()) {
      memory.push_back(
          {"base weights", Product({models_.policy.total_elements, ElementBytes(device)}), false});
      memory.push_back({"merged model, when the run ends",
                        Product({models_.policy.published_elements, kFloatBytes}), false,
                        /*on_host=*/true});
    }
    if (plan_.reference_bytes > 0) {
      memory.push_back({"reference log-probs", plan_.reference_bytes, false, /*on_host=*/true});
    }
    return memory;
  }

  const v1::JobSpec& spec_;
  const PlannedModels& models_;
  Plan& plan_;
};

absl::Status PlanReferenceBytes(const v1::JobSpec& spec, const FieldPositions& at,
                                const PlannedModels& models, Plan* plan) {
  if (!IsPpo(spec)) return absl::OkStatus();
  const bool full = spec.algorithm().ppo().kl_penalty() == v1::KL_PENALTY_FULL;
  plan->reference_bytes = Product({plan->samples_per_step, spec.rollout().max_new_tokens(),
                                   full ? models.config.vocab_size : 1, kFloatBytes});
  if (!full) return absl::OkStatus();
  if (plan->reference_bytes > kMaxFullReferenceBytes) {
    return at.Error(
        "algorithm.ppo.kl_penalty",
        absl::StrCat("is full, which makes ", BytesText(plan->reference_bytes),
                     " of reference log-probs a step (", plan->samples_per_step, " samples x ",
                     spec.rollout().max_new_tokens(), " tokens x ", models.config.vocab_size,
                     " ids); expected at most ", BytesText(kMaxFullReferenceBytes),
                     "; use kl, or a smaller batch"));
  }
  plan->notes.push_back(absl::StrCat("kl_penalty full: reference artifacts of ",
                                     BytesText(plan->reference_bytes), " a step"));
  return absl::OkStatus();
}

absl::Status CheckDisk(const v1::JobSpec& spec, const FieldPositions& at, const HostFacts& host,
                       int64_t model_bytes, const Plan& plan) {
  // While a checkpoint is written the ones that are kept lie beside it; the exported model comes
  // last.
  const int64_t copies = int64_t{spec.output().keep()} + 1;
  const int64_t most = std::min<int64_t>(copies, plan.steps / spec.output().checkpoint_every() + 1);
  const int64_t checkpoints = Product({plan.checkpoint_bytes, most});
  // Those of the run that is resumed are among them.
  const int64_t missing = checkpoints - std::min(checkpoints, host.checkpoint_bytes);
  const __int128 need = static_cast<__int128>(missing) + model_bytes;
  if (!host.free_disk_bytes || need <= *host.free_disk_bytes) return absl::OkStatus();
  return at.Error(
      "output.dir",
      absl::StrCat("has ", BytesText(*host.free_disk_bytes), " of free disk; expected ",
                   BytesText(missing), " for ", most, " checkpoints and ", BytesText(model_bytes),
                   " for the model; lower output.keep or choose another disk"));
}

}  // namespace

std::string BytesText(int64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? absl::StrCat(bytes, " B") : absl::StrFormat("%.1f %s", value, units[unit]);
}

absl::Status PlanMemory(const v1::JobSpec& spec, const FieldPositions& at,
                        const PlannedModels& models, const HostFacts& host, Plan* plan) {
  RETORT_RETURN_IF_ERROR(PlanReferenceBytes(spec, at, models, plan));
  const int64_t published_bytes = Product({models.trained.published_elements, kFloatBytes});
  const bool rounded =
      spec.policy().dtype() == v1::DATA_TYPE_BFLOAT16 && !models.adapter.has_value();
  const int64_t arena_bytes = Product({models.trained.total_elements, kFloatBytes});
  // An adapter lies beside the model that it is merged into.
  const int64_t exported = models.policy.published_elements +
                           (models.adapter.has_value() ? models.trained.published_elements : 0);
  const int64_t export_bytes = Product({exported, kFloatBytes});
  MemoryPlanner(spec, models, plan).AddRoles();
  if (plan->roles.size() > 1) {
    plan->ring_slots = plan->lag + 2;
    plan->ring_slot_bytes = rounded ? published_bytes / 2 : published_bytes;
    plan->ring_on_gpu = spec.cluster().learner().device() == v1::DEVICE_CUDA &&
                        spec.cluster().rollout().device() == v1::DEVICE_CUDA;
  }
  // Parameters and both moments, and the older versions that uncommitted rollouts still need.
  plan->checkpoint_bytes = Product({3, arena_bytes}) + Product({plan->lag, published_bytes});
  int64_t resident = plan->ring_on_gpu ? 0 : Product({plan->ring_slots, plan->ring_slot_bytes});
  for (const RolePlan& role : plan->roles) {
    resident += Product({role.processes, role.host_bytes()});
  }
  if (host.memory_bytes > 0 && resident > host.memory_bytes) {
    plan->notes.push_back(absl::StrCat("all processes together want about ", BytesText(resident),
                                       " of memory; this host has ", BytesText(host.memory_bytes)));
  }
  return CheckDisk(spec, at, host, export_bytes, *plan);
}

}  // namespace retort::job
