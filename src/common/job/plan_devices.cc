#include "common/job/plan_devices.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/job/learner_collective.h"
#include "common/job/plan_memory.h"

namespace retort::job {
namespace {

absl::Status CheckHost(const std::string& field, const FieldPositions& at,
                       const absl::StatusOr<std::vector<gpu::DeviceInfo>>& gpus) {
  if (!gpus.ok()) {
    return at.Error(field, absl::StrCat("is cuda, but ", gpus.status().message(),
                                        "; expected cpu on this host (or --workers=external, "
                                        "for workers of others)"));
  }
  if (!gpus->empty()) return absl::OkStatus();
  return at.Error(field,
                  "is cuda, but this host has no CUDA device (retort devices lists them); expected "
                  "cpu, or a host with an NVIDIA GPU and its driver (or --workers=external)");
}

absl::Status CheckRanks(const v1::JobSpec& spec, const FieldPositions& at, size_t devices) {
  const auto ranks = static_cast<size_t>(spec.cluster().learner().ranks());
  if (LearnerCollective(spec) != v1::COLLECTIVE_KIND_NCCL || ranks <= devices) {
    return absl::OkStatus();
  }
  return at.Error(
      "cluster.learner.ranks",
      absl::StrCat("is ", ranks, " on a host with ", devices, devices == 1 ? " GPU" : " GPUs",
                   ", and NCCL takes one rank on each; expected at most ", devices,
                   ", or collective: shm, which sums in the host's memory"));
}

std::string DeviceText(const gpu::DeviceInfo& device) {
  return absl::StrCat("device ", device.index, " (", device.name, ")");
}

// Which of the role's processes compute on device number `device` of `devices`.
std::vector<int> ProcessesOn(const RolePlan& role, size_t device, size_t devices) {
  std::vector<int> processes;
  for (size_t i = device; i < static_cast<size_t>(role.processes); i += devices) {
    processes.push_back(static_cast<int>(i));
  }
  return processes;
}

// One device's workers and what they want of its memory.
void PlanDevice(const std::vector<gpu::DeviceInfo>& gpus, size_t device, Plan* plan) {
  // The ring lies where learner 0 is.
  int64_t bytes = device == 0 && plan->ring_on_gpu ? plan->ring_slots * plan->ring_slot_bytes : 0;
  for (const RolePlan& role : plan->roles) {
    if (!role.on_gpu) continue;
    const std::vector<int> processes = ProcessesOn(role, device, gpus.size());
    if (processes.empty()) continue;
    bytes += static_cast<int64_t>(processes.size()) * role.gpu_bytes();
    plan->devices.push_back(absl::StrCat(role.role, " ", absl::StrJoin(processes, ","), " on ",
                                         DeviceText(gpus[device])));
  }
  if (bytes <= gpus[device].memory_bytes) return;
  plan->notes.push_back(absl::StrCat(DeviceText(gpus[device]), " has ",
                                     BytesText(gpus[device].memory_bytes),
                                     " of memory; its workers want about ", BytesText(bytes)));
}

}  // namespace

absl::Status PlanDevices(const v1::JobSpec& spec, const FieldPositions& at, const HostFacts& host,
                         Plan* plan) {
  const auto on_gpu = [](const RolePlan& role) { return role.on_gpu; };
  const auto first = std::find_if(plan->roles.begin(), plan->roles.end(), on_gpu);
  if (first == plan->roles.end()) return absl::OkStatus();
  if (host.gpus == nullptr) {
    plan->notes.push_back("device cuda: each worker's host is checked when the worker starts");
    return absl::OkStatus();
  }
  const absl::StatusOr<std::vector<gpu::DeviceInfo>> gpus = host.gpus();
  RETORT_RETURN_IF_ERROR(CheckHost(absl::StrCat("cluster.", first->role, ".device"), at, gpus));
  RETORT_RETURN_IF_ERROR(CheckRanks(spec, at, gpus->size()));
  for (size_t device = 0; device < gpus->size(); ++device) PlanDevice(*gpus, device, plan);
  return absl::OkStatus();
}

}  // namespace retort::job
