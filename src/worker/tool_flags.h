// The sub-commands of retort-worker that need no driver: flags in, the functions of worker/tools
// called.
#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "worker/serve/serve_command.h"
#include "worker/tools/chat_command.h"
#include "worker/tools/devices_command.h"
#include "worker/tools/generate_command.h"
#include "worker/tools/model_commands.h"
#include "worker/tools/score_command.h"

namespace retort::worker {

struct ToolFlags {
  GenerateOptions generate;
  ScoreOptions score;
  ChatOptions chat;
  InitOptions init;
  ConvertOptions convert;
  MergeOptions merge;
  ServeOptions serve;
  DevicesOptions devices;
  int threads = 0;  // 0: LibTorch's choice, one for each core; fewer with OMP_NUM_THREADS.
};

void AddToolCommands(CLI::App& app, ToolFlags& flags);

// True if the command line that was parsed names one of them.
bool NamesTool(const CLI::App& app);

// Runs it; output goes to stdout. The exit code: 0, or 128 + the signal that ended a service.
absl::StatusOr<int> RunTool(const CLI::App& app, const ToolFlags& flags);

}  // namespace retort::worker
