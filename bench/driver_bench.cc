// Driver overhead per step: 8 workers that compute nothing, over real gRPC on loopback, with the
// journal on disk. Prints the median and the spread of the time from commit to commit.
//   build/bench/driver_bench [--steps=400]
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "common/base/log.h"
#include "common/base/random_id.h"
#include "driver/service/driver_loop.h"
#include "testing/fake_worker.h"

ABSL_FLAG(int, steps, 400, "Steps to run");

namespace retort::driver {
namespace {

constexpr double kLimitMilliseconds = 5;

class StepTimes : public RunObserver {
 public:
  void OnStep(const v1::StepRecord& record) override {
    milliseconds.push_back(1e3 * record.phase_seconds().at("step"));
  }
  std::vector<double> milliseconds;
};

ScheduleConfig JobOfEightWorkers(int steps) {
  ScheduleConfig config;
  config.steps = steps;
  config.slots_per_step = 128;
  config.bundle_slots = 32;
  config.checkpoint_every = 1000000;
  config.rollouts = 4;
  config.scorers = 2;
  config.learners = 2;
  config.rows_of_step = [](int64_t) { return std::vector<int64_t>(128, 1); };
  return config;
}

RunResult RunIn(const std::filesystem::path& dir, const ScheduleConfig& config, StepTimes& times) {
  RunFolder folder = RunFolder::Create(dir).value();
  const auto journal = Journal::Create(folder.journal(), {"bench", v1::JobSpec(), {}}).value();
  metrics::JsonlWriter metrics = metrics::JsonlWriter::Open(folder.metrics()).value();
  DriverLoopOptions options;
  options.job_id = "bench";
  options.schedule = config;
  options.folder = &folder;
  options.journal = journal.get();
  options.metrics = &metrics;
  options.observer = &times;
  DriverLoop loop(std::move(options));
  const rpc::AccessToken token = rpc::AccessToken::Generate();
  const auto service = rpc::AttachService::Make(
      token, [&loop](rpc::AttachEvent event) { loop.Deliver(std::move(event)); });
  rpc::ServerOptions server_options;
  server_options.services = {service.get()};
  const auto server = rpc::Server::Start(server_options).value();
  testing::FakeWorkerOptions worker;
  worker.address = server->address();
  worker.token = token;
  worker.disk = std::make_shared<testing::FakeDisk>();
  testing::FakeFleet fleet(worker);
  return loop.Run(service.get(), &fleet);
}

int Main(int steps) {
  const std::filesystem::path dir =
      std::filesystem::temp_directory_path() / ("driver-bench-" + RandomHex(8));
  InitLogging("driver", LogLevel::kError);
  StepTimes times;
  const RunResult result = RunIn(dir, JobOfEightWorkers(steps), times);
  std::filesystem::remove_all(dir);
  if (result.end != RunEnd::kDone) {
    std::fprintf(stderr, "driver_bench: %s\n", result.message.c_str());
    return 1;
  }
  std::vector<double>& ms = times.milliseconds;
  std::sort(ms.begin(), ms.end());
  const auto at = [&ms](double quantile) {
    return ms[static_cast<size_t>(quantile * (ms.size() - 1))];
  };
  std::printf(
      "driver overhead per step, 8 workers, %zu steps: median %.3f ms (p10 %.3f, p90 %.3f, max "
      "%.3f); "
      "limit %.0f ms: ratio %.2f\n",
      ms.size(), at(0.5), at(0.1), at(0.9), ms.back(), kLimitMilliseconds,
      at(0.5) / kLimitMilliseconds);
  return at(0.5) < kLimitMilliseconds ? 0 : 1;
}

}  // namespace
}  // namespace retort::driver

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return retort::driver::Main(absl::GetFlag(FLAGS_steps));
}
