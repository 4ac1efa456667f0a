// What one training step of a learner rank ends with.
#pragma once

#include <string>

#include "common/checkpoint/manifest.h"
#include "retort/v1/record.pb.h"

namespace retort::worker {

struct StepOutcome {
  bool bad = false;  // A loss or gradient was not finite: model and state are those of before.
  std::string why;
  checkpoint::TrainerState
      state;              // For the next step; weight_digest is the publisher's to fill in.
  v1::StepRecord record;  // The same on every rank, but for the times.
};

}  // namespace retort::worker
