#include "driver/service/run_job.h"

#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/random_id.h"
#include "common/base/status_macros.h"
#include "common/job/job_file.h"
#include "common/job/plan.h"
#include "common/metrics/report.h"
#include "common/rpc/access_token.h"
#include "common/rpc/build_version.h"
#include "common/rpc/server.h"
#include "driver/service/agent_process.h"
#include "driver/service/job_setup.h"
#include "driver/store/resume_check.h"

namespace retort::driver {
namespace {

constexpr absl::Duration kOrphanTimeout = absl::Seconds(15);

// A run that is ready to start.
struct Prepared {
  JobIdentity identity;
  job::Plan plan;
  JobSetup setup;
  History history;
  std::unique_ptr<RunFolder> folder;
  std::unique_ptr<Journal> journal;
};

// Workers that are started elsewhere do not compute on this host's GPUs.
job::HostFacts HostOf(const RunJobOptions& options, const std::string& run_dir) {
  job::HostFacts host = job::ThisHost(run_dir);
  if (options.external) host.gpus = nullptr;
  return host;
}

absl::Status FillFolder(Prepared& run) {
  RETORT_RETURN_IF_ERROR(WriteFileAtomically(run.folder->job(), job::JobToYaml(run.identity.spec)));
  RETORT_ASSIGN_OR_RETURN(run.journal, Journal::Create(run.folder->journal(), run.identity));
  return absl::OkStatus();
}

absl::StatusOr<Prepared> PrepareNew(const RunJobOptions& options) {
  Prepared run;
  RETORT_ASSIGN_OR_RETURN(const job::LoadedJob loaded,
                          job::LoadJobWithPositions(options.job_path, options.overrides));
  v1::JobSpec& spec = run.identity.spec;
  spec = loaded.spec;
  job::RecordBegin(absl::Now(), &spec);
  const std::string& dir = spec.output().dir();
  RETORT_ASSIGN_OR_RETURN(run.plan, job::MakePlan(spec, loaded.positions, HostOf(options, dir)));
  if (!IsUnbegun(dir)) {
    RETORT_RETURN_IF_ERROR(job::CheckOutputDir(spec, loaded.positions));
  }
  RETORT_ASSIGN_OR_RETURN(run.setup, SetUpJob(spec, run.plan, dir, options.external));
  run.identity.job_id = RandomHex(16);
  RETORT_ASSIGN_OR_RETURN(run.identity.inputs, IdentifyInputs(spec));
  RETORT_ASSIGN_OR_RETURN(RunFolder folder, RunFolder::Create(dir));
  run.folder = std::make_unique<RunFolder>(std::move(folder));
  const absl::Status filled = FillFolder(run);
  if (filled.ok()) return run;
  const absl::Status removed = run.folder->Remove();
  if (!removed.ok()) LogWarning("run folder not removed error=\"{}\"", removed.ToString());
  return filled;
}

// The metrics file is for people: after a crash it is written again from the journal.
absl::Status RewriteMetrics(const std::string& path, Journal& journal) {
  RETORT_ASSIGN_OR_RETURN(const std::vector<v1::StepRecord> steps, journal.ReadStepRecords());
  RETORT_ASSIGN_OR_RETURN(const std::vector<v1::EvalRecord> evals, journal.ReadEvalRecords());
  const std::string fresh = path + ".tmp";
  RETORT_RETURN_IF_ERROR(RemoveRecursively(fresh));
  RETORT_ASSIGN_OR_RETURN(metrics::JsonlWriter writer, metrics::JsonlWriter::Open(fresh));
  auto eval = evals.begin();
  for (const v1::StepRecord& step : steps) {
    for (; eval != evals.end() && eval->version() <= step.step(); ++eval) {
      RETORT_RETURN_IF_ERROR(writer.Append(*eval));
    }
    RETORT_RETURN_IF_ERROR(writer.Append(step));
  }
  for (; eval != evals.end(); ++eval) RETORT_RETURN_IF_ERROR(writer.Append(*eval));
  return RenameDurably(fresh, path);
}

absl::StatusOr<Prepared> PrepareResume(const RunJobOptions& options) {
  Prepared run;
  const std::string dir = std::filesystem::absolute(options.resume_dir).lexically_normal().string();
  const bool slash = dir.size() > 1 && dir.back() == '/';
  RETORT_ASSIGN_OR_RETURN(RunFolder folder,
                          RunFolder::Open(slash ? dir.substr(0, dir.size() - 1) : dir));
  run.folder = std::make_unique<RunFolder>(std::move(folder));
  RETORT_ASSIGN_OR_RETURN(run.journal, Journal::Open(run.folder->journal()));
  RETORT_ASSIGN_OR_RETURN(run.identity, run.journal->ReadIdentity());
  RETORT_ASSIGN_OR_RETURN(run.plan, job::MakePlan(run.identity.spec, job::FieldPositions(),
                                                  HostOf(options, run.folder->path())));
  JobIdentity now;
  RETORT_ASSIGN_OR_RETURN(now.inputs, IdentifyInputs(run.identity.spec));
  RETORT_RETURN_IF_ERROR(CheckSameInputs(run.identity, now));
  RETORT_ASSIGN_OR_RETURN(
      run.setup, SetUpJob(run.identity.spec, run.plan, run.folder->path(), options.external));
  RETORT_ASSIGN_OR_RETURN(run.history, run.journal->ReadHistory(run.setup.schedule.TrainBundles()));
  RETORT_RETURN_IF_ERROR(CheckResumable(*run.journal, run.setup.schedule, run.history));
  RETORT_RETURN_IF_ERROR(AwaitOrphans(*run.journal, kOrphanTimeout));
  RETORT_RETURN_IF_ERROR(RewriteMetrics(run.folder->metrics(), *run.journal));
  RETORT_RETURN_IF_ERROR(RemoveRecursively(run.folder->token()));
  return run;
}

metrics::ReportInput MakeReport(const Prepared& run, const RunResult& result, double seconds) {
  metrics::ReportInput report;
  report.job_yaml = job::JobToYaml(run.identity.spec);
  report.name = run.identity.spec.name();
  report.algorithm = run.plan.algorithm;
  report.seed = run.identity.spec.seed();
  report.planned_steps = run.plan.steps;
  report.wall_seconds = seconds;
  switch (result.end) {
    case RunEnd::kDone:
      report.status = "finished";
      break;
    case RunEnd::kStopped:
      report.status = absl::StrCat("stopped after step ", result.next_step);
      break;
    case RunEnd::kFailed:
      report.status = absl::StrCat("failed: ", result.message);
      break;
  }
  report.facts = {{"Build", std::string(rpc::BuildVersion())},
                  {"Rollout workers", absl::StrCat(run.setup.schedule.rollouts)},
                  {"Scorer workers", absl::StrCat(run.setup.schedule.scorers)},
                  {"Learner ranks", absl::StrCat(run.setup.schedule.learners)},
                  {"Lag", absl::StrCat(run.setup.schedule.lag)},
                  {"Run folder", run.folder->path()}};
  return report;
}

// Evaluations and the report, from what the journal holds.
absl::Status Summarise(Prepared& run, RunSummary& summary) {
  metrics::ReportInput report = MakeReport(run, summary.result, summary.seconds);
  RETORT_ASSIGN_OR_RETURN(report.steps, run.journal->ReadStepRecords());
  RETORT_ASSIGN_OR_RETURN(summary.evals, run.journal->ReadEvalRecords());
  report.evals = summary.evals;
  if (!report.steps.empty()) report.weight_digest = report.steps.back().weight_digest();
  return WriteFileAtomically(run.folder->report(), metrics::RenderReport(report));
}

DriverLoopOptions LoopOptions(Prepared& run, const RunJobOptions& options) {
  DriverLoopOptions loop;
  loop.job_id = run.identity.job_id;
  loop.spec = run.identity.spec;
  loop.schedule = run.setup.schedule;
  loop.history = std::move(run.history);
  loop.threads = run.setup.threads;
  loop.external = options.external;
  loop.inputs = run.identity.inputs;
  loop.failpoints = options.failpoints;
  loop.folder = run.folder.get();
  loop.journal = run.journal.get();
  loop.observer = options.observer;
  loop.stop_signals = options.stop_signals;
  return loop;
}

RunStart StartOf(const Prepared& run, const RunJobOptions& options) {
  RunStart start;
  start.name = run.identity.spec.name();
  start.algorithm = run.plan.algorithm;
  start.run_dir = run.folder->path();
  start.steps = run.plan.steps;
  start.samples_per_step = run.plan.samples_per_step;
  start.first_step = run.history.checkpoints.empty() ? 0 : run.history.checkpoints.back();
  start.resumed = !options.resume_dir.empty();
  start.external = options.external;
  start.tls = options.tls;
  start.token_file = run.folder->token();
  const ScheduleConfig& schedule = run.setup.schedule;
  start.workers = schedule.rollouts + schedule.scorers + schedule.learners;
  start.notes = run.plan.notes;
  return start;
}

// Everything that lives while workers do: the loop, the server that they attach to, the agent.
absl::StatusOr<RunResult> Serve(Prepared& run, const RunJobOptions& options) {
  RunStart start = StartOf(run, options);
  const rpc::AccessToken token = rpc::AccessToken::Generate();
  RETORT_RETURN_IF_ERROR(token.WriteFile(run.folder->token()));
  RETORT_ASSIGN_OR_RETURN(metrics::JsonlWriter metrics,
                          metrics::JsonlWriter::Open(run.folder->metrics()));
  DriverLoopOptions loop_options = LoopOptions(run, options);
  loop_options.metrics = &metrics;
  DriverLoop loop(std::move(loop_options));
  const std::unique_ptr<rpc::AttachService> service = rpc::AttachService::Make(
      token, [&loop](rpc::AttachEvent event) { loop.Deliver(std::move(event)); });
  RETORT_ASSIGN_OR_RETURN(
      const std::unique_ptr<rpc::Server> server,
      rpc::Server::Start(
          {.listen = options.listen, .tls = options.tls, .services = {service.get()}}));
  std::unique_ptr<AgentProcess> agent;
  if (!options.external) {
    agent = std::make_unique<AgentProcess>(
        AgentProcessOptions{options.worker_program, server->address(), run.folder->token(),
                            run.folder->LogOf({v1::ROLE_AGENT, 0})});
  }
  start.address = server->address();
  if (options.observer != nullptr) options.observer->OnStart(start);
  RunResult result = loop.Run(service.get(), agent.get());
  server->Shutdown(absl::Seconds(1));
  return result;
}

}  // namespace

absl::StatusOr<RunSummary> RunJob(const RunJobOptions& options) {
  const absl::Duration began = Clock::Real()->Now();
  const bool resume = !options.resume_dir.empty();
  RETORT_ASSIGN_OR_RETURN(Prepared run, resume ? PrepareResume(options) : PrepareNew(options));
  InitLogging("driver", LogLevel::kInfo, run.folder->logs() + "/driver.log");
  absl::StatusOr<RunResult> result = Serve(run, options);
  // Nothing was trained: the same command must work once what was wrong is right.
  const bool in_vain = !result.ok() || (result->bad_input && result->next_step == 0);
  if (in_vain && !resume) RETORT_RETURN_IF_ERROR(run.folder->Remove());
  RETORT_RETURN_IF_ERROR(result.status());
  RunSummary summary;
  summary.result = *std::move(result);
  summary.steps = run.plan.steps;
  summary.external = options.external;
  summary.listen = options.listen;
  summary.tls = options.tls;
  summary.seconds = absl::ToDoubleSeconds(Clock::Real()->Now() - began);
  if (in_vain && !resume) return summary;
  summary.run_dir = run.folder->path();
  const absl::Status summarised = Summarise(run, summary);
  if (!summarised.ok()) LogError("no report error=\"{}\"", summarised.ToString());
  return summary;
}

}  // namespace retort::driver
