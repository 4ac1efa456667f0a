// What the learner ranks are doing together, and their answers so far.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/time/time.h"
#include "retort/v1/control.pb.h"

namespace retort::driver {

struct LearnerGroup {
  enum Phase { kDown, kForming, kIdle, kTraining, kCheckpointing, kExporting };

  Phase phase = kDown;
  int64_t generation = 0;
  v1::CollectiveKind collective = v1::COLLECTIVE_KIND_UNSPECIFIED;  // Of this generation.
  bool identified = false;  // Over NCCL: rank 0's identity went to the others.
  // It was ready in this epoch: workers may hold results that a rewind must void.
  bool ready_in_epoch = false;
  // By rank, of the phase that runs.
  std::map<int, v1::LearnerReady> readies;
  std::map<int, v1::TrainReport> train_reports;
  std::map<int, v1::CheckpointReport> checkpoint_reports;
  std::map<int, std::string> checkpoint_failures;

  std::string base_digest;  // Of the frozen weights below a LoRA adapter, the same on every rank.
  int64_t failed_checkpoint = -1;  // Not tried again at this step.
  absl::Duration train_sent, last_commit;
  bool exported = false;
  std::string exported_path;
};

}  // namespace retort::driver
