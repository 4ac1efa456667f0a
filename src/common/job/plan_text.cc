#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/job/plan.h"
#include "common/job/plan_memory.h"

namespace retort::job {
namespace {

void Line(const char* name, const std::string& text, std::string* out) {
  absl::StrAppendFormat(out, "  %-14s%s\n", name, text);
}

std::string StepText(const Plan& plan) {
  if (plan.bundles_per_step == 0) {
    return absl::StrCat(plan.steps, ", each ", plan.slots_per_step, " rows, 1 optimizer update");
  }
  return absl::StrCat(plan.steps, ", each ", plan.slots_per_step, " prompts, ",
                      plan.samples_per_step, " samples, ", plan.updates_per_step,
                      " optimizer update", plan.updates_per_step == 1 ? "" : "s");
}

std::string DataText(const Plan& plan) {
  const double passes = static_cast<double>(plan.steps) * static_cast<double>(plan.slots_per_step) /
                        static_cast<double>(plan.train_rows);
  return absl::StrFormat(
      "%d rows, %.3g passes; longest prompt %d tokens, longest sequence %d of %d", plan.train_rows,
      passes, plan.longest_prompt, plan.longest_sequence, plan.context);
}

std::string RolloutText(const Plan& plan) {
  return absl::StrCat(
      plan.bundles_per_step, " bundle", plan.bundles_per_step == 1 ? "" : "s", " a step; ",
      plan.lag == 0 ? std::string("on-policy (lag 0)")
                    : absl::StrCat("step k uses policy version max(0, k - ", plan.lag, ")"),
      "; importance sampling ", plan.importance_sampling ? "applied" : "not applied");
}

std::string TrainedText(const Plan& plan) {
  const std::string bytes =
      absl::StrCat(plan.trainable_parameters, " parameters, ", BytesText(plan.trainable_bytes));
  if (plan.adapter_rank == 0) return bytes;
  return absl::StrCat(bytes, ": LoRA of rank ", plan.adapter_rank, " on ", plan.adapted_matrices,
                      " matrices; the model stays as it is");
}

std::string EvaluationText(const Plan& plan) {
  if (plan.evaluations == 0) return "none";
  return absl::StrCat(plan.evaluations, " of ", plan.eval_rows, " rows in ", plan.eval_bundles,
                      " bundle", plan.eval_bundles == 1 ? "" : "s");
}

std::string ItemsText(const RolePlan& role) {
  std::vector<std::string> items;
  for (const MemoryItem& item : role.memory) {
    items.push_back(absl::StrCat(item.what, " ", BytesText(item.bytes),
                                 role.on_gpu && item.on_host ? " of the host" : ""));
  }
  return absl::StrCat(role.on_gpu ? "of a GPU: " : "", absl::StrJoin(items, ", "));
}

void AppendRoles(const Plan& plan, std::string* out) {
  absl::StrAppendFormat(out, "\n  %-10s%10s%10s%14s  %s\n", "role", "processes", "threads",
                        "bytes each", "of which");
  int processes = 0;
  int64_t host = 0, gpus = 0;
  for (const RolePlan& role : plan.roles) {
    absl::StrAppendFormat(out, "  %-10s%10d%10d%14s  %s\n", role.role, role.processes, role.threads,
                          BytesText(role.host_bytes() + role.gpu_bytes()), ItemsText(role));
    processes += role.processes;
    host += role.host_bytes() * role.processes;
    gpus += role.gpu_bytes() * role.processes;
  }
  absl::StrAppendFormat(out, "  %-10s%10d%10d%14s  on %d core%s%s\n", "all", processes,
                        plan.total_threads, BytesText(host), plan.cores, plan.cores == 1 ? "" : "s",
                        gpus == 0 ? "" : absl::StrCat(", and ", BytesText(gpus), " of GPUs"));
}

}  // namespace

std::string Describe(const Plan& plan) {
  std::string out = absl::StrCat(plan.name, " (", plan.algorithm, ")\n");
  Line("steps", StepText(plan), &out);
  Line("data", DataText(plan), &out);
  if (plan.bundles_per_step > 0) Line("rollouts", RolloutText(plan), &out);
  if (!plan.rewards.empty()) Line("rewards", absl::StrJoin(plan.rewards, ", "), &out);
  Line("evaluations", EvaluationText(plan), &out);
  Line("model", absl::StrCat(plan.parameters, " parameters"), &out);
  Line("trained", TrainedText(plan), &out);
  if (!plan.gradients.empty()) Line("gradients", plan.gradients, &out);
  if (!plan.devices.empty()) Line("GPUs", absl::StrJoin(plan.devices, ", "), &out);
  if (plan.ring_slots > 0) {
    Line("weight ring",
         absl::StrCat(plan.ring_slots, " versions x ", BytesText(plan.ring_slot_bytes),
                      plan.ring_on_gpu ? " of learner 0's GPU" : " of shared memory"),
         &out);
  }
  if (plan.reference_bytes > 0) {
    Line("reference",
         absl::StrCat("log-probs of at most ", BytesText(plan.reference_bytes), " a step"), &out);
  }
  Line("checkpoint", absl::StrCat(BytesText(plan.checkpoint_bytes), " each"), &out);
  Line("digests",
       absl::StrCat("train ", plan.train_digest.ToHex(), ", tokenizer ",
                    plan.tokenizer_digest.ToHex()),
       &out);
  AppendRoles(plan, &out);
  if (!plan.notes.empty()) out += "\nnotes\n";
  for (const std::string& note : plan.notes) absl::StrAppend(&out, "  - ", note, "\n");
  return out;
}

}  // namespace retort::job
