// The program `retort`: the command line and, inside `run`, the driver.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/command_line.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/job/job_file.h"
#include "common/job/plan.h"
#include "common/rpc/build_version.h"
#include "driver/cli/run_command.h"
#include "driver/cli/worker_tools.h"

namespace retort::driver {
namespace {

constexpr int kBadInput = 2;

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

struct WorkerTool {
  const char* name;
  const char* what;
};

// Sub-commands of retort-worker, which reads their flags and answers --help.
constexpr WorkerTool kWorkerTools[] = {
    {"generate", "Generate text with a model folder"},
    {"score", "Log-probabilities of a text under a model folder"},
};

bool NamesWorkerTool(int argc, char** argv) {
  return argc > 1 &&
         std::any_of(std::begin(kWorkerTools), std::end(kWorkerTools), [&](const WorkerTool& tool) {
           return absl::string_view(tool.name) == argv[1];
         });
}

int Main(int argc, char** argv) {
  InitLogging("retort", LogLevel::kWarning);
  if (NamesWorkerTool(argc, argv)) {
    return Fail(ExecWorkerTool(std::vector<std::string>(argv + 1, argv + argc)));
  }
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
  app.add_subcommand("job-reference", "Print every key of the job file as Markdown");
  for (const WorkerTool& tool : kWorkerTools) app.add_subcommand(tool.name, tool.what);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadInput;
  }
  const std::string command = app.get_subcommands().front()->get_name();
  if (command == "plan") return Print(job::PlanCommand(plan_path, plan_overrides));
  if (command == "job-reference") return Print(job::JobReferencePage());
  return RunCommand(run);
}

}  // namespace
}  // namespace retort::driver

int main(int argc, char** argv) { return retort::driver::Main(argc, argv); }
