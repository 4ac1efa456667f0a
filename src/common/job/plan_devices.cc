#include "common/job/plan_devices.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/job/applicability.h"

namespace retort::job {
namespace {

struct Pool {
  const char* role;
  v1::Device device;
  int processes;
};

// In mpirun rank order, as plan.roles; without those that the method does not start.
std::vector<Pool> PoolsOf(const v1::JobSpec& spec, const Plan& plan) {
  const v1::ClusterSpec& cluster = spec.cluster();
  std::vector<Pool> pools;
  if (IsPpo(spec)) {
    pools.push_back({"scorer", cluster.scorer().device(), cluster.scorer().workers()});
  }
  if (IsPpo(spec) || plan.eval_rows > 0) {
    pools.push_back({"rollout", cluster.rollout().device(), cluster.rollout().workers()});
  }
  pools.push_back({"learner", cluster.learner().device(), cluster.learner().ranks()});
  return pools;
}

absl::Status CheckHost(const std::string& field, const FieldPositions& at,
                       const absl::StatusOr<std::vector<gpu::DeviceInfo>>& gpus) {
  if (!gpus.ok()) {
    return at.Error(field, absl::StrCat("is cuda, but ", gpus.status().message(),
                                        "; expected cpu on this host"));
  }
  if (!gpus->empty()) return absl::OkStatus();
  return at.Error(field,
                  "is cuda, but this host has no CUDA device (retort devices lists them); expected "
                  "cpu, or a host with an NVIDIA GPU and its driver");
}

std::string DeviceText(const gpu::DeviceInfo& device) {
  return absl::StrCat("device ", device.index, " (", device.name, ")");
}

}  // namespace

absl::Status PlanDevices(const v1::JobSpec& spec, const FieldPositions& at, const HostFacts& host,
                         Plan* plan) {
  const std::vector<Pool> pools = PoolsOf(spec, *plan);
  const auto wants_gpu = [](const Pool& pool) { return pool.device == v1::DEVICE_CUDA; };
  const auto first = std::find_if(pools.begin(), pools.end(), wants_gpu);
  if (first == pools.end()) return absl::OkStatus();
  if (host.gpus == nullptr) {
    plan->notes.push_back("device cuda: each worker's host is checked when the worker starts");
    return absl::OkStatus();
  }
  const absl::StatusOr<std::vector<gpu::DeviceInfo>> gpus = host.gpus();
  RETORT_RETURN_IF_ERROR(CheckHost(absl::StrCat("cluster.", first->role, ".device"), at, gpus));
  for (const Pool& pool : pools) {
    if (!wants_gpu(pool)) continue;
    for (size_t d = 0; d < gpus->size(); ++d) {
      std::vector<std::string> workers;
      for (size_t i = d; i < static_cast<size_t>(pool.processes); i += gpus->size()) {
        workers.push_back(absl::StrCat(i));
      }
      if (workers.empty()) break;
      plan->devices.push_back(absl::StrCat(pool.role, " ", absl::StrJoin(workers, ","), " on ",
                                           DeviceText((*gpus)[d])));
    }
  }
  return absl::OkStatus();
}

}  // namespace retort::job
