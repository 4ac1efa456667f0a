// `retort model init|convert|merge-lora`: model folders from model folders.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "common/layout/model_config.h"

namespace retort::worker {

// How a new folder's files are to be written.
struct OutputOptions {
  std::string folder;       // Must not exist, or be empty.
  std::string dtype;        // "float32", "bfloat16" or "float16"; empty: as it was.
  int64_t shard_bytes = 0;  // No file larger, unless a single tensor is; 0: one file.
  layout::ConfigStyle style = layout::ConfigStyle::kBoth;
};

struct InitOptions {
  std::string config;    // Folder with config.json and, if there should be one, a tokenizer.
  OutputOptions output;  // Without dtype: float32.
  uint64_t seed = 1;
  double std = 0.02;  // Of every weight matrix.
};

struct ConvertOptions {
  std::string model;
  OutputOptions output;
};

struct MergeOptions {
  std::string model;
  std::string adapter;  // PEFT folder.
  OutputOptions output;
};

// All three write config.json anew, without keys that change nothing; copy the tokenizer's files,
// the chat template and generation_config.json; and leave no folder behind unless it is whole. A
// line about what was written goes to `out`; every tenth of a gigabyte or more goes to `progress`.
// The caller has called tensor::ConfigureTorchProcess. Errors name the file: INVALID_ARGUMENT,
// NOT_FOUND, DATA_LOSS, UNIMPLEMENTED for what is wrong with the input or asked for.

// Random weights: those that a job with this seed, `policy.init.std` and model would start from.
absl::Status InitCommand(const InitOptions& options, std::ostream& out, std::ostream& progress);

// The same weights in another dtype, other files, another style of config.json. Reads and holds one
// tensor at a time. Tensors that the model does not use (buffers, a value head) are left out.
absl::Status ConvertCommand(const ConvertOptions& options, std::ostream& out,
                            std::ostream& progress);

// The model that the adapter makes of the base, without the adapter. Merged in fp32.
absl::Status MergeCommand(const MergeOptions& options, std::ostream& out, std::ostream& progress);

}  // namespace retort::worker
