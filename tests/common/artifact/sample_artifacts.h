// Small valid artifacts for the codec tests.
#pragma once

#include "common/artifact/rollout.h"
#include "common/artifact/scores.h"

namespace retort::artifact {

// Two slots, two samples each; one response is empty.
inline Rollout SampleRollout() {
  Rollout rollout;
  rollout.bundle.set_kind(v1::BUNDLE_KIND_TRAIN);
  rollout.bundle.set_step(7);
  rollout.bundle.set_index(1);
  rollout.version = 6;
  rollout.slots = {8, 9};
  rollout.rows = {123, 4};
  rollout.n = 2;
  rollout.prompt_lengths = {2, 2, 1, 1};
  rollout.response_lengths = {1, 2, 0, 3};
  rollout.token_ids = {5, 6, 1, 5, 6, 2, 3, 9, 9, 4, 4, 0};
  rollout.behaviour_log_probs = {-0.5f, -1.5f, -0.25f, -3.0f, -0.125f, -2.0f};
  rollout.finished = {1, 0, 0, 1};
  rollout.scores = {1.0f, 0.0f, 0.5f, -1.0f};
  rollout.reward_names = {"exact_match", "length"};
  rollout.reward_parts = {1, 0, 0, 0, 0, 1, -1, 0};
  rollout.reward_gave_up = {0, 2};
  return rollout;
}

inline Scores SampleScores() {
  Scores scores;
  scores.bundle.set_kind(v1::BUNDLE_KIND_TRAIN);
  scores.bundle.set_step(7);
  scores.ref_log_probs = {-0.5f, -1.0f, -0.75f, -2.0f, -0.5f, -4.0f};
  return scores;
}

}  // namespace retort::artifact
