// What a job would run: every process, buffer and unit of work, computed and checked before the
// first process starts. No Torch: sizes follow from the layout, prompts from the tokenizer.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/gpu/gpu_api.h"
#include "common/job/job_file.h"
#include "retort/v1/job.pb.h"

namespace retort::job {

// What the plan must know of the machine; injected so that tests need none.
struct HostFacts {
  int cores = 1;             // That this process may use.
  int64_t memory_bytes = 0;  // Of the host; 0: unknown.
  // Where output.dir lies or will lie; nullopt: unknown.
  std::optional<int64_t> free_disk_bytes = std::nullopt;
  int64_t checkpoint_bytes = 0;  // That lie in output.dir already: a resume writes over them.
  // The GPUs that workers will find; asked only for a job that wants some. Null: workers run on
  // other hosts, and find out when they start.
  std::function<absl::StatusOr<std::vector<gpu::DeviceInfo>>()> gpus = nullptr;
};
HostFacts ThisHost(const std::string& output_dir);

struct MemoryItem {
  std::string what;  // "weights", "gradients", "moments", "KV cache" …
  int64_t bytes = 0;
  bool shared = false;   // One copy on the host, mapped by many processes.
  bool on_host = false;  // Of a role on a GPU: in the host's memory all the same.
};

struct RolePlan {
  std::string role;  // "scorer", "rollout", "learner", in mpirun rank order.
  int processes = 0;
  int threads = 1;                 // Per process.
  std::vector<MemoryItem> memory;  // Per process; estimates leave out code and allocator slack.
  bool on_gpu = false;             // Then that is memory of a GPU.

  // Per process, without what is shared.
  int64_t host_bytes() const;
  int64_t gpu_bytes() const;
};

struct Plan {
  std::string name;
  std::string algorithm;        // "ppo", "sft".
  std::vector<RolePlan> roles;  // Only those that the method starts.
  int cores = 0;
  int total_threads = 0;

  int64_t steps = 0;
  int64_t slots_per_step = 0;    // Prompts (rl) or rows (sft).
  int64_t samples_per_step = 0;  // slots_per_step * samples per prompt.
  int64_t updates_per_step = 0;  // Optimizer updates.
  int64_t bundles_per_step = 0;  // TRAIN bundles; 0 for sft.
  int64_t eval_rows = 0;         // Rows of one evaluation; 0: never.
  int64_t eval_bundles = 0;      // EVAL bundles of one evaluation.
  int64_t evaluations = 0;       // Versions evaluated over the whole run.

  std::string gradients;             // What ranks sum them over; empty for one rank.
  std::vector<std::string> devices;  // "learner 0,2 on device 0 (NVIDIA H200)"; empty: CPU only.
  std::vector<std::string> rewards;  // "exact_match x 1": kind and weight, in the job's order.

  int lag = 0;
  bool importance_sampling = false;  // The policy loss is weighted by old / behaviour probability.
  int ring_slots = 0;                // lag + 2; 0 where no role maps the policy's weights.
  int64_t ring_slot_bytes = 0;
  bool ring_on_gpu = false;  // In the memory of learner 0's GPU, not the host's.

  int64_t parameters = 0;  // Elements of the policy, value head included, without padding.
  int64_t trainable_parameters = 0;  // Of these and an adapter's: those that training changes.
  int64_t trainable_bytes = 0;       // Their fp32 arena; gradients and each moment are as large.
  int64_t adapter_rank = 0;          // 0: every parameter is trained.
  int64_t adapted_matrices = 0;
  int64_t train_rows = 0;
  int64_t validation_rows = 0;
  int64_t longest_prompt = 0;    // Tokens, BOS included, over train and evaluated rows.
  int64_t longest_sequence = 0;  // Prompt and response, at most.
  int64_t context = 0;           // The model's max_position_embeddings.
  int64_t checkpoint_bytes = 0;  // One.
  int64_t reference_bytes = 0;   // Of one step's reference artifacts.
  Digest train_digest;
  Digest validation_digest;  // Zero without data.validation.
  Digest tokenizer_digest;

  std::vector<std::string> notes;  // What a user should know and need not change.
};

// Validates everything that can be known before a process starts: files, models, tokenizer, every
// prompt's length, divisibility, threads, devices, disk. Does not touch output.dir. Errors:
// INVALID_ARGUMENT (or the file's own code), naming the field, with its position where known.
absl::StatusOr<Plan> MakePlan(const v1::JobSpec& spec, const FieldPositions& positions,
                              const HostFacts& host);
absl::StatusOr<Plan> MakePlan(const v1::JobSpec& spec);

// Readable table, ends with a newline.
std::string Describe(const Plan& plan);

// FAILED_PRECONDITION if output.dir already holds a run or anything else; says how to resume.
// INVALID_ARGUMENT if it is no folder, or cannot be made or written.
absl::Status CheckOutputDir(const v1::JobSpec& spec, const FieldPositions& positions = {});

// `retort plan FILE --set …`: the text to print. An output.dir that is taken is only noted.
// `workers_elsewhere`: this host's GPUs do not matter.
absl::StatusOr<std::string> PlanCommand(const std::string& path,
                                        absl::Span<const std::string> overrides,
                                        bool workers_elsewhere = false);

}  // namespace retort::job
