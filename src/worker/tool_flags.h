// The sub-commands of retort-worker that need no driver: flags in, the functions of worker/tools
// called.
#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "worker/tools/generate_command.h"
#include "worker/tools/score_command.h"

namespace retort::worker {

struct ToolFlags {
  GenerateOptions generate;
  ScoreOptions score;
  int threads = 1;
};

void AddToolCommands(CLI::App& app, ToolFlags& flags);

// True if the command line that was parsed names one of them.
bool NamesTool(const CLI::App& app);

// Runs it; output goes to stdout.
absl::Status RunTool(const CLI::App& app, const ToolFlags& flags);

}  // namespace retort::worker
