// The policy as every role holds it: one arena that is trained and published, and what makes a
// model of it. Without LoRA the arena is the model. With LoRA it is an adapter, applied to base
// weights that a process reads once and nothing changes. It computes on one device; files are read
// and written through arenas on the CPU.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/layout/adapter_config.h"
#include "common/layout/adapter_layout.h"
#include "common/layout/model_config.h"
#include "common/model/model.h"
#include "common/tensor/gpu_device.h"
#include "common/tensor/parameter_arena.h"
#include "retort/v1/job.pb.h"
#include "worker/weight_sync/policy_source.h"

namespace retort::worker {

// Where a policy computes, and in which type: fp32, or bf16 on a GPU.
struct PolicyPlace {
  at::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;
};
// What the job says for a process whose GPU, if any, is `gpu`.
PolicyPlace PlaceOf(const v1::JobSpec& spec, const tensor::GpuDevice* gpu);

// Cheap to copy: copies share the base.
class PolicyModel {
 public:
  // Every weight is trained.
  explicit PolicyModel(layout::ModelConfig config, const PolicyPlace& place = {})
      : config_(std::move(config)), place_(place) {}

  // An adapter of `base` is trained. `base`: over LayoutFor(config, with or without value head), on
  // the CPU; elsewhere a copy computes. Errors: those of AdapterLayoutFor and CopyTo.
  static absl::StatusOr<PolicyModel> Adapted(layout::ModelConfig config,
                                             const layout::AdapterConfig& adapter,
                                             const tensor::ParameterArena& base,
                                             const PolicyPlace& place = {});

  const layout::ModelConfig& config() const { return config_; }
  const at::Device& device() const { return place_.device; }  // Of the arenas that Bind takes.
  // Of the arena that is published and bound. An adapter stays fp32; without LoRA bf16 is what fp32
  // masters are rounded to.
  at::ScalarType published_type() const { return adapted() ? at::kFloat : place_.type; }
  bool adapted() const { return frozen_.has_value(); }

  // Of the arena that is trained: every parameter of the model, or the adapter's. The published
  // prefix is the same with and without a value head.
  layout::ParameterLayout TrainedLayout(bool value_head) const;

  // `trained` is over TrainedLayout(with or without value head). The model shares its memory, and
  // the base's.
  model::Model Bind(const tensor::ParameterArena& trained) const;

  // Only of an adapted policy:
  const layout::AdapterConfig& adapter() const;
  const tensor::ParameterArena& base() const;  // On device().
  const Digest& base_digest() const;           // Of the base's published range.
  // A model's arena without value head, on the CPU: the base with the adapter of `trained`, on the
  // CPU too, added to it.
  absl::StatusOr<tensor::ParameterArena> Merge(const tensor::ParameterArena& trained) const;

 private:
  struct Frozen {
    layout::AdapterConfig config;
    layout::AdapterLayout layout;  // Without value head.
    tensor::ParameterArena base;
    Digest digest;
  };

  layout::ModelConfig config_;
  PolicyPlace place_;
  std::optional<Frozen> frozen_;
};

// The policy of the job. With LoRA this reads the base: policy.path's weights, or those drawn with
// the job's seed. `value_head`: with that of the folder too, for a role that trains one.
// Errors: those of AdapterOf, AdapterLayoutFor and LoadFirstWeights.
absl::StatusOr<PolicyModel> LoadPolicyModel(const v1::JobSpec& spec,
                                            const layout::ModelConfig& config, bool value_head,
                                            const PolicyPlace& place = {});

// What training starts from: LoadFirstWeights without LoRA; else the adapter of policy.lora.path,
// or a new one drawn with the job's seed (B is zero: it changes nothing yet), and the base's value
// head. `trained` is all zero, on the CPU and over policy.TrainedLayout.
absl::Status LoadFirstTrained(const v1::JobSpec& spec, const PolicyModel& policy,
                              tensor::ParameterArena* trained);

// The frozen model that the KL penalty is measured against, on `device`. Of `weights`; where those
// are the policy's own, policy.lora.path's adapter is applied: the reference is what training
// starts from.
absl::StatusOr<model::Model> ReferenceModel(const v1::JobSpec& spec,
                                            const ReferenceWeights& weights,
                                            const at::Device& device = at::kCPU);

// DATA_LOSS unless a worker's base is the learners', whose digest `want` is (empty: they have
// none).
absl::Status CheckBase(const PolicyModel& policy, const std::string& want);

}  // namespace retort::worker
