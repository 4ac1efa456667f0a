// The program `retort`: the command line and, inside `run`, the driver.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/command_line.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/job/job_file.h"
#include "common/job/plan.h"
#include "common/rpc/build_version.h"
#include "common/text/chat_template.h"
#include "driver/cli/chat_command.h"
#include "driver/cli/model_info_command.h"
#include "driver/cli/run_command.h"
#include "driver/cli/tokenizer_commands.h"
#include "driver/cli/worker_tools.h"

namespace retort::driver {
namespace {

constexpr int kBadInput = 2;

struct WorkerTool {
  const char* name;
  const char* what;
};

// Sub-commands of retort-worker.
constexpr WorkerTool kWorkerTools[] = {
    {"generate", "Generate text with a model folder"},
    {"score", "Log-probabilities of a text under a model folder"},
    {"serve", "Serve a model folder: generation and scoring over gRPC"},
    {"devices", "List the GPUs that workers of this host can compute on"},
};

// Those of `retort model`.
constexpr WorkerTool kModelTools[] = {
    {"init", "Write a model with random weights"},
    {"convert", "Write a model in other files, dtype or config style"},
    {"merge-lora", "Write a model with its LoRA adapter in it"},
};

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "retort: %s\n", std::string(status.message()).c_str());
  return ExitCodeOf(status);
}

int Print(const absl::StatusOr<std::string>& text) {
  if (!text.ok()) return Fail(text.status());
  if (std::fputs(text->c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return Fail(ErrnoError(errno, "write the output"));
  }
  return 0;
}

void AddRun(CLI::App& app, RunOptions& options) {
  CLI::App* const run = app.add_subcommand("run", "Run a job with local workers, or resume one");
  auto* const job = run->add_option("job", options.job_path, "Job file (YAML)");
  run->add_option("--resume", options.resume_dir, "Go on with the run in this folder")
      ->excludes(job);
  run->add_option("--set", options.overrides, "Override a field: a.b.c=value; repeatable")
      ->allow_extra_args(false);
  run->add_option("--workers",
                  "local (default), or external: print the mpirun line and wait for workers")
      ->check(CLI::IsMember({"local", "external"}))
      ->each(
          [&options](const std::string& kind) { options.external_workers = kind == "external"; });
  run->add_option("--listen", options.listen,
                  "With --workers=external: HOST:PORT to wait at (default: a free loopback port)");
  run->add_option("--tls-cert", options.tls.certificate_file,
                  "PEM certificate for --listen; without TLS only loopback is allowed");
  run->add_option("--tls-key", options.tls.key_file, "Its PEM key");
  run->add_option("--tls-ca", options.tls.ca_file,
                  "Workers must show a certificate that it signed");
  run->add_option("--failpoint", options.failpoints,
                  "For tests of recovery: WORKER:NAME=ACTION[@HIT], such as "
                  "rollout-0:rollout.generate=kill@2")
      ->group("")
      ->allow_extra_args(false);
}

// The command line only gets here with --render.
void AddChat(CLI::App& app, RenderChatOptions& options) {
  CLI::App* const chat =
      app.add_subcommand("chat", "Talk to a model folder; --render: print a conversation's prompt");
  chat->add_option("--model", options.model, "Model folder with a chat template")->required();
  chat->add_flag_callback(
      "--render", [] {}, "Print the prompt, generate nothing");
  chat->add_option("--messages", options.messages,
                   "JSON array of messages; - (default) reads standard input");
  chat->add_option("--tools", options.tools, "JSON array of tools");
  chat->add_flag("--add-generation-prompt", options.add_generation_prompt,
                 "End where the model's answer begins");
  chat->add_option("--template-var", options.template_variables, text::kTemplateVariableHelp)
      ->type_name("NAME=JSON")
      ->allow_extra_args(false);
}

void AddModel(CLI::App& app, ModelInfoOptions& options) {
  CLI::App* const model = app.add_subcommand("model", "Tell about a model folder, or make one");
  model->require_subcommand(1);
  CLI::App* const info = model->add_subcommand("info", "What a model folder holds");
  info->add_option("folder", options.model, "Hugging Face folder")->required();
  info->add_flag("--json", options.json, "Print a JSON object");
  for (const WorkerTool& tool : kModelTools) model->add_subcommand(tool.name, tool.what);
}

int RunChat(const RenderChatOptions& options) {
  const absl::Status status = RenderChatCommand(
      options, absl::ToCivilSecond(absl::Now(), absl::LocalTimeZone()), std::cout);
  return status.ok() ? 0 : Fail(status);
}

bool Names(absl::Span<const WorkerTool> tools, absl::string_view word) {
  return std::any_of(tools.begin(), tools.end(),
                     [&](const WorkerTool& tool) { return word == tool.name; });
}

// Whether the command is one of retort-worker's, which then reads the flags and answers --help.
bool NamesWorkerTool(absl::Span<const std::string> words) {
  if (words.empty()) return false;
  if (words[0] == "model") return words.size() > 1 && Names(kModelTools, words[1]);
  if (words[0] == "chat") return std::find(words.begin(), words.end(), "--render") == words.end();
  return Names(kWorkerTools, words[0]);
}

int Main(int argc, char** argv) {
  rpc::IdentifyBuild(rpc::kSourceDigest);
  InitLogging("retort", LogLevel::kWarning);
  const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (NamesWorkerTool(words)) return Fail(ExecWorkerTool(words));
  CLI::App app(
      "Retort trains language models: reinforcement learning (PPO) and fine-tuning (SFT).");
  SetUpCommandLine("retort", app);
  app.set_version_flag("--version", std::string(rpc::BuildVersion()));
  app.require_subcommand(1);
  RunOptions run;
  AddRun(app, run);
  std::string plan_path;
  std::vector<std::string> plan_overrides;
  CLI::App* const plan = app.add_subcommand("plan", "Check a job file and show what would run");
  plan->add_option("job", plan_path, "Job file (YAML)")->required();
  plan->add_option("--set", plan_overrides, "Override a field: a.b.c=value; repeatable")
      ->allow_extra_args(false);
  bool plan_external = false;
  plan->add_option("--workers", "local (default), or external: do not ask for this host's GPUs")
      ->check(CLI::IsMember({"local", "external"}))
      ->each([&plan_external](const std::string& kind) { plan_external = kind == "external"; });
  TokenizerCommands tokenizer_commands;
  tokenizer_commands.AddTo(app);
  RenderChatOptions chat;
  AddChat(app, chat);
  ModelInfoOptions info;
  AddModel(app, info);
  app.add_subcommand("job-reference", "Print every key of the job file as Markdown");
  for (const WorkerTool& tool : kWorkerTools) app.add_subcommand(tool.name, tool.what);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadInput;
  }
  if (tokenizer_commands.Chosen()) {
    const absl::Status status = tokenizer_commands.Run(std::cout);
    return status.ok() ? 0 : Fail(status);
  }
  const std::string command = app.get_subcommands().front()->get_name();
  if (command == "plan") return Print(job::PlanCommand(plan_path, plan_overrides, plan_external));
  if (command == "job-reference") return Print(job::JobReferencePage());
  if (command == "chat") return RunChat(chat);
  if (command == "model") {
    const absl::Status status = ModelInfoCommand(info, std::cout);
    return status.ok() ? 0 : Fail(status);
  }
  return RunCommand(run);
}

}  // namespace
}  // namespace retort::driver

int main(int argc, char** argv) {
  retort::FillStandardDescriptors();
  retort::IgnoreFileSizeSignal();
  return retort::driver::Main(argc, argv);
}
