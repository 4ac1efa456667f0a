// The program `retort-worker`: one process, one role. `--role=agent` spawns the others of a host
// and makes no Torch call; started by mpirun without --role, the driver gives the role.
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/command_line.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/random_id.h"
#include "common/base/status_macros.h"
#include "common/collective/mpi_collective.h"
#include "common/gpu/nccl_environment.h"
#include "common/job/input_digests.h"
#include "common/rpc/build_version.h"
#include "common/tensor/gpu_device.h"
#include "common/tensor/torch_process.h"
#include "worker/agent/agent.h"
#include "worker/agent/driver_session.h"
#include "worker/agent/exit_code.h"
#include "worker/agent/parent_death.h"
#include "worker/agent/termination.h"
#include "worker/learner/learner_role.h"
#include "worker/rollout/rollout_role.h"
#include "worker/scorer/scorer_role.h"
#include "worker/tool_flags.h"

namespace retort::worker {
namespace {

struct WorkerFlags {
  std::string role;  // Empty: the driver gives one.
  int index = 0;
  std::string incarnation;
  std::string driver;
  std::string token_file;
  int threads = 0;  // 0: as the job says for the role.
  std::string log_file;
  int64_t parent_pid = 0;
  std::vector<std::string> failpoints;
  std::string artifact_listen;
  std::string host_identity;
  rpc::TlsFiles tls;
};

void AddFlags(CLI::App& app, WorkerFlags& flags) {
  app.add_option("--role", flags.role,
                 "agent, rollout, scorer or learner; under mpirun the driver gives it")
      ->check(CLI::IsMember({"agent", "rollout", "scorer", "learner"}));
  app.add_option("--index", flags.index, "Number of the worker within its role")
      ->check(CLI::Range(0, 1000000));
  app.add_option("--incarnation", flags.incarnation,
                 "32 hex digits, new for every start (default: drawn)");
  app.add_option("--driver", flags.driver, "HOST:PORT of the driver");
  app.add_option("--token-file", flags.token_file, "File with the run's access token, mode 0600");
  app.add_option("--threads", flags.threads, "CPU threads (default: as the job says)")
      ->check(CLI::Range(0, 1024));
  app.add_option("--log-file", flags.log_file, "Append log lines here instead of stderr");
  app.add_option("--parent-pid", flags.parent_pid, "Process that this one must not outlive")
      ->group("");
  app.add_option("--failpoint", flags.failpoints,
                 "For tests of recovery: NAME=ACTION[@HIT]; repeatable")
      ->group("");
  app.add_option("--artifact-listen", flags.artifact_listen,
                 "HOST:PORT to serve artifacts at (default: a free port beside the driver's "
                 "loopback address)");
  app.add_option("--host-identity", flags.host_identity,
                 "Workers with the same one share memory (default: drawn from the machine and its "
                 "network namespace). For containers of one machine that share no memory, or do")
      ->type_name("NAME");
  app.add_option("--tls-cert", flags.tls.certificate_file, "PEM certificate of this worker");
  app.add_option("--tls-key", flags.tls.key_file, "PEM key of this worker");
  app.add_option("--tls-ca", flags.tls.ca_file,
                 "PEM certificates that verify the driver and other workers");
}

v1::Role RoleOf(const std::string& name) {
  if (name == "agent") return v1::ROLE_AGENT;
  if (name == "rollout") return v1::ROLE_ROLLOUT;
  if (name == "scorer") return v1::ROLE_SCORER;
  if (name == "learner") return v1::ROLE_LEARNER;
  return v1::ROLE_UNSPECIFIED;
}

int ThreadsOf(const WorkerFlags& flags, const v1::Welcome& welcome) {
  if (flags.threads > 0) return flags.threads;
  const v1::ClusterSpec& cluster = welcome.spec().cluster();
  switch (welcome.role()) {
    case v1::ROLE_ROLLOUT:
      return cluster.rollout().threads();
    case v1::ROLE_SCORER:
      return cluster.scorer().threads();
    default:
      return cluster.learner().threads();
  }
}

absl::Status RunAsAgent(const WorkerFlags& flags) {
  AgentOptions options;
  options.worker_binary = ExecutableDirectory() + "/retort-worker";
  options.driver_address = flags.driver;
  options.token_file = flags.token_file;
  options.tls = flags.tls;
  options.incarnation = flags.incarnation;
  return RunAgent(options);
}

absl::Status CheckOwnFiles(const v1::Welcome& welcome) {
  if (welcome.inputs().empty()) return absl::OkStatus();
  return job::CheckInputs(welcome.spec(), welcome.role(),
                          {welcome.inputs().begin(), welcome.inputs().end()});
}

v1::Device DeviceOf(const v1::Welcome& welcome) {
  const v1::ClusterSpec& cluster = welcome.spec().cluster();
  switch (welcome.role()) {
    case v1::ROLE_ROLLOUT:
      return cluster.rollout().device();
    case v1::ROLE_SCORER:
      return cluster.scorer().device();
    default:
      return cluster.learner().device();
  }
}

// The role's GPU if the job gives it one; none is no error. Before any other ATen call. A host that
// cannot give it will not the next time either.
absl::StatusOr<std::optional<tensor::GpuDevice>> OpenDevice(const v1::Welcome& welcome) {
  if (DeviceOf(welcome) != v1::DEVICE_CUDA) return std::optional<tensor::GpuDevice>();
  absl::StatusOr<tensor::GpuDevice> gpu =
      tensor::OpenGpu(ExecutableDirectory(), rpc::BuildVersion(), welcome.index());
  if (!gpu.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the job gives this worker device cuda: ", gpu.status().message()));
  }
  LogInfo("device={} name=\"{}\" uuid={} of={} nccl={}", gpu->device.str(), gpu->info.name,
          gpu->info.uuid, gpu->device_count, gpu->plugin.nccl->version());
  return std::optional<tensor::GpuDevice>(*std::move(gpu));
}

// What a role needs of its host. The driver is told what is wrong, for whoever started the worker
// may not see its log; it is this host's failure, not the job's, and another host may do.
absl::StatusOr<std::optional<tensor::GpuDevice>> CheckHost(DriverSession& session) {
  const absl::Status files = CheckOwnFiles(session.welcome());
  absl::StatusOr<std::optional<tensor::GpuDevice>> gpu =
      files.ok() ? OpenDevice(session.welcome()) : files;
  if (gpu.ok()) return gpu;
  v1::Fence loading;
  loading.set_epoch(session.welcome().epoch());
  const absl::Status told =
      session.ReportFailure(loading, absl::FailedPreconditionError(gpu.status().message()));
  if (!told.ok()) LogInfo("failure not reported: {}", std::string(told.message()));
  return gpu;
}

absl::Status RunRole(DriverSession& session, const std::string& token, int threads,
                     collective::MpiRuntime* mpi) {
  RETORT_ASSIGN_OR_RETURN(const std::optional<tensor::GpuDevice> opened, CheckHost(session));
  const tensor::GpuDevice* const gpu = opened.has_value() ? &*opened : nullptr;
  tensor::ConfigureTorchProcess(threads);
  if (session.welcome().spec().cluster().tf32()) tensor::AllowTf32();
  switch (session.welcome().role()) {
    case v1::ROLE_ROLLOUT:
      return RunRollout(session, {.token = token, .gpu = gpu});
    case v1::ROLE_SCORER:
      return RunScorer(session, {.gpu = gpu});
    case v1::ROLE_LEARNER:
      return RunLearner(session, {.token = token, .mpi = mpi, .gpu = gpu});
    default:
      return absl::InternalError("the driver gave this worker no role");
  }
}

// mpirun's rank, if there is one: a learner reduces over it, and every rank must have called
// MPI_Init.
absl::StatusOr<std::unique_ptr<collective::MpiRuntime>> StartMpi() {
  if (!collective::MpiPlaceOfProcess().has_value())
    return std::unique_ptr<collective::MpiRuntime>();
  return collective::MpiRuntime::Start();
}

absl::Status RunSession(const WorkerFlags& flags, collective::MpiRuntime* mpi, int* exit_code) {
  RETORT_ASSIGN_OR_RETURN(rpc::AccessToken token, rpc::AccessToken::ReadFile(flags.token_file));
  const std::string secret = token.secret();
  DriverSessionOptions options{.driver_address = flags.driver,
                               .token = std::move(token),
                               .tls = flags.tls,
                               .incarnation = flags.incarnation,
                               .role = RoleOf(flags.role),
                               .index = flags.index,
                               .mpi_rank = std::nullopt,
                               .mpi_world_size = std::nullopt,
                               .artifact_listen = flags.artifact_listen,
                               .host_identity = flags.host_identity};
  if (mpi != nullptr) {
    options.mpi_rank = mpi->place().rank;
    options.mpi_world_size = mpi->place().world_size;
  }
  RETORT_ASSIGN_OR_RETURN(const std::unique_ptr<DriverSession> session,
                          DriverSession::Connect(options));
  const int threads = ThreadsOf(flags, session->welcome());
  LogInfo("worker started role={} index={} threads={} build=\"{}\"",
          v1::Role_Name(session->welcome().role()), session->welcome().index(), threads,
          std::string(rpc::BuildVersion()));
  const absl::Status result = RunRole(*session, secret, threads, mpi);
  if (!result.ok()) LogError("worker ends error=\"{}\"", result.ToString());
  *exit_code = session->Finish(result);
  return result;
}

absl::Status RunWorker(const WorkerFlags& flags, int* exit_code) {
  RETORT_RETURN_IF_ERROR(ArmFailpoints(flags.failpoints));
  if (RoleOf(flags.role) == v1::ROLE_AGENT) return RunAsAgent(flags);
  RETORT_ASSIGN_OR_RETURN(const std::unique_ptr<collective::MpiRuntime> mpi, StartMpi());
  if (flags.role.empty() && mpi == nullptr) {
    return absl::InvalidArgumentError("--role is required unless mpirun starts this program");
  }
  RETORT_RETURN_IF_ERROR(RunSession(flags, mpi.get(), exit_code));
  return mpi == nullptr ? absl::OkStatus() : mpi->Finish();
}

int Main(int argc, char** argv) {
  rpc::IdentifyBuild(rpc::kSourceDigest);
  CLI::App app("retort-worker: every role of a Retort run but the driver. `retort run` starts it.");
  app.set_version_flag("--version", std::string(rpc::BuildVersion()));
  SetUpCommandLine(argv[0], app);
  WorkerFlags flags;
  AddFlags(app, flags);
  ToolFlags tools;
  AddToolCommands(app, tools);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitBadInput;
  }
  if (NamesTool(app)) {
    const absl::StatusOr<int> code = RunTool(app, tools);
    if (code.ok()) return *code;
    std::fprintf(stderr, "retort: %s\n", std::string(code.status().message()).c_str());
    return ExitCodeFor(code.status());
  }
  DieWithParent(flags.parent_pid);
  gpu::SetNcclEnvironment();  // While nobody else reads the environment.
  tensor::SetTorchEnvironment();
  PrepareTerminationSignals();
  if (flags.incarnation.empty()) flags.incarnation = RandomHex(16);
  const std::string name =
      flags.role.empty() ? "worker" : absl::StrCat(flags.role, "-", flags.index);
  InitLogging(name, LogLevel::kInfo, flags.log_file);
  if (flags.driver.empty() || flags.token_file.empty()) {
    std::fprintf(
        stderr,
        "retort-worker: --driver and --token-file are required; `retort run` passes them\n");
    return kExitBadInput;
  }
  int exit_code = -1;
  const absl::Status status = RunWorker(flags, &exit_code);
  if (exit_code < 0) exit_code = ExitCodeFor(status);
  if (!status.ok()) {
    LogError("{} ends status={} error=\"{}\"", name, exit_code, status.ToString());
    if (!flags.log_file.empty())
      std::fprintf(stderr, "retort-worker: %s\n", status.ToString().c_str());
  }
  return status.ok() ? exit_code : (exit_code == kExitOk ? kExitFailure : exit_code);
}

}  // namespace
}  // namespace retort::worker

int main(int argc, char** argv) {
  retort::FillStandardDescriptors();
  retort::IgnoreFileSizeSignal();
  try {
    return retort::worker::Main(argc, argv);
  } catch (const std::exception& error) {  // A bug: rooms catch what their libraries throw.
    std::fprintf(stderr, "retort-worker: unexpected exception: %s\n", error.what());
    return retort::worker::kExitFailure;
  }
}
