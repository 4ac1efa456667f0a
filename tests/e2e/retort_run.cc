#include "e2e/retort_run.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "driver/store/journal.h"
#include "driver/store/sqlite.h"

namespace retort::e2e {
namespace {

// Made at the first use, removed when the process ends.
class ScratchFolder {
 public:
  ScratchFolder() : path_(absl::StrCat(testing::TempDir(), "retort_e2e_", RandomHex(4))) {
    ChildProcess data({Program("quickstart-data"), "--out", path_, "--train-rows", "400",
                       "--heldout-rows", "40"});
    RETORT_CHECK(data.Wait() == 0) << "quickstart-data failed";
  }
  ~ScratchFolder() { RemoveRecursively(path_).IgnoreError(); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

std::string PolicyText(const JobOptions& o) {
  if (!o.model.empty()) return absl::StrCat("path: ", o.model);
  return absl::StrCat("path: null, init: {config: ", TaskFolder(), "/model, std: 0.06}");
}

std::string JobText(const JobOptions& o, const std::string& name, const std::string& folder) {
  const std::string& task = TaskFolder();
  const std::string data =
      absl::StrCat("{train: ", task, "/train.jsonl, validation: ", task, "/heldout.jsonl");
  std::string text = absl::StrCat(
      "name: ", name, "\nseed: 5\npolicy: {", PolicyText(o), o.policy.empty() ? "" : ", ", o.policy,
      "}\n", "output: {dir: ", folder, ", checkpoint_every: ", o.checkpoint_every, "}\n",
      "eval: {every: ", o.evaluate ? o.steps : 0, "}\n",
      "optimizer: {learning_rate: ", o.learning_rate,
      ", lr_schedule: constant, micro_batch_tokens: 128", o.optimizer.empty() ? "" : ", ",
      o.optimizer, "}\n");
  if (o.algorithm == "sft") {
    return absl::StrCat(text, "algorithm: {type: sft, steps: ", o.steps,
                        ", sft: {batch_size: 32}}\n", "data: ", data,
                        "}\nrollout: {max_new_tokens: 7}\ncluster: {rollout: {workers: ",
                        o.rollout_workers, "}, learner: {ranks: ", o.learner_ranks, "}}\n", o.more);
  }
  return absl::StrCat(
      text, "algorithm: {type: ppo, steps: ", o.steps, ", lag: ", o.lag,
      ", ppo: {ppo_epochs: 2, mini_batch_size: 12, init_kl_coef: 0.05", o.ppo.empty() ? "" : ", ",
      o.ppo, "}}\n", "data: ", data, ", prompts_per_step: 12, samples_per_prompt: 2}\n",
      "rollout: {max_new_tokens: 7, bundle_prompts: 3, max_batch: 4",
      o.sampling.empty() ? "" : ", ", o.sampling, "}\nrewards: [", o.rewards,
      "]\ncluster: {rollout: {workers: ", o.rollout_workers,
      "}, scorer: {workers: 1}, learner: {ranks: ", o.learner_ranks, "}}\n", o.more);
}

constexpr char kReportedAttempt[] =
    " (SELECT 1 FROM bundles r WHERE r.event='reported' AND r.kind='train' AND r.epoch=l.epoch AND "
    "r.step=l.step AND r.idx=l.idx AND r.attempt=l.attempt)";

std::vector<std::string> SharedMemory() {
  const auto names = ListDirectory("/dev/shm");
  return names.ok() ? *names : std::vector<std::string>();
}

}  // namespace

bool WaitFor(const std::function<bool()>& condition, absl::Duration patience) {
  const absl::Duration deadline = Clock::Real()->Now() + patience;
  while (!condition()) {
    if (Clock::Real()->Now() > deadline) return false;
    std::this_thread::sleep_for(
        std::chrono::milliseconds(2));  // The interval of a poll, no synchronisation.
  }
  return true;
}

std::string Program(const std::string& name) {
  const char* folder = std::getenv("RETORT_BIN_DIR");
  return absl::StrCat(folder == nullptr ? "build/bin" : folder, "/", name);
}

std::string FreeAddress() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  RETORT_CHECK(fd >= 0 && bind(fd, raw, size) == 0 && getsockname(fd, raw, &size) == 0) << "bind";
  close(fd);
  return absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
}

const std::string& TaskFolder() {
  static const ScratchFolder folder;
  return folder.path();
}

JobOptions Lag(int lag) {
  JobOptions options;
  options.lag = lag;
  return options;
}

SmallRun::SmallRun(const std::string& name, const JobOptions& options)
    : folder_(absl::StrCat(TaskFolder(), "/", name)),
      job_(absl::StrCat(TaskFolder(), "/", name, ".yaml")),
      shared_memory_before_(SharedMemory()) {
  RETORT_CHECK(WriteFileDurably(job_, JobText(options, name, folder_)).ok()) << job_;
}

SmallRun::~SmallRun() {
  EXPECT_TRUE(WaitFor([this] { return Processes().empty(); }, absl::Seconds(20)))
      << "processes of " << folder_ << " are left: " << absl::StrJoin(Processes(), " ");
  std::vector<std::string> left;
  const std::vector<std::string> now = SharedMemory();
  std::set_difference(now.begin(), now.end(), shared_memory_before_.begin(),
                      shared_memory_before_.end(), std::back_inserter(left));
  EXPECT_TRUE(left.empty()) << "left in /dev/shm: " << absl::StrJoin(left, " ");
  if (testing::Test::HasFailure())
    return;  // Keep the logs: TaskFolder is removed, but its path was printed.
  EXPECT_TRUE(RemoveRecursively(folder_).ok());
}

std::unique_ptr<ChildProcess> SmallRun::LaunchWith(const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {"sh", "-c", "exec \"$@\" 2>&1", "sh", Program("retort"),
                                      "run"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return std::make_unique<ChildProcess>(command);
}

std::unique_ptr<ChildProcess> SmallRun::Launch(const std::vector<std::string>& flags) {
  std::vector<std::string> arguments = {job_};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  return LaunchWith(arguments);
}

std::unique_ptr<ChildProcess> SmallRun::LaunchResume() { return LaunchWith({"--resume", folder_}); }

int SmallRun::RunToEnd(const std::vector<std::string>& arguments) {
  const std::unique_ptr<ChildProcess> run = LaunchWith(arguments);
  const int status = run->Wait();
  output_ = run->output();
  return status;
}

int SmallRun::Start(const std::vector<std::string>& flags) {
  std::vector<std::string> all = {job_};
  all.insert(all.end(), flags.begin(), flags.end());
  return RunToEnd(all);
}

int SmallRun::Resume(const std::vector<std::string>& flags) {
  std::vector<std::string> all = {"--resume", folder_};
  all.insert(all.end(), flags.begin(), flags.end());
  return RunToEnd(all);
}

std::string SmallRun::FinalWeights() const {
  static constexpr absl::string_view kLabel = "final weights: ";
  const size_t at = output_.find(std::string(kLabel));
  return at == std::string::npos ? "" : output_.substr(at + kLabel.size(), 32);
}

int64_t SmallRun::Journal(const std::string& sql) const {
  auto database = driver::Database::Open(folder_ + "/journal.db");
  if (!database.ok()) return -1;
  auto statement = (*database)->Prepare(sql);
  if (!statement.ok()) return -1;
  const auto row = statement->Step();
  return row.ok() && *row ? statement->Int(0) : -1;
}

pid_t SmallRun::PidOf(const std::string& worker) const {
  return static_cast<pid_t>(std::max<int64_t>(
      0, Journal(absl::StrCat("SELECT pid FROM workers WHERE worker='", worker,
                              "' AND event='joined' AND seq > ",
                              "(SELECT COALESCE(MAX(seq), 0) FROM workers WHERE worker='", worker,
                              "' AND event='lost') ORDER BY seq DESC LIMIT 1"))));
}

absl::Status SmallRun::Change(const std::string& sql) const {
  auto database = driver::Database::Open(folder_ + "/journal.db");
  if (!database.ok()) return database.status();
  return (*database)->Execute(sql);
}

std::vector<v1::StepRecord> SmallRun::Steps() const {
  const auto journal = driver::Journal::Open(folder_ + "/journal.db");
  if (!journal.ok()) return {};
  return (*journal)->ReadStepRecords().value_or(std::vector<v1::StepRecord>());
}

int64_t SmallRun::Respawns(const std::string& worker) const {
  return Journal(absl::StrCat("SELECT COUNT(*) - 1 FROM workers WHERE worker='", worker,
                              "' AND event='joined'"));
}

int64_t SmallRun::LostInGeneration() const {
  return Journal(absl::StrCat("SELECT COUNT(*) FROM bundles l WHERE l.event='lost' AND NOT EXISTS",
                              kReportedAttempt));
}

int64_t SmallRun::LostAfterReport() const {
  return Journal(absl::StrCat(
      "SELECT COUNT(*) FROM bundles l WHERE l.event IN ('lost', 'orphaned') AND EXISTS",
      kReportedAttempt));
}

std::vector<pid_t> SmallRun::Processes() const {
  std::vector<pid_t> found;
  const auto names = ListDirectory("/proc");
  if (!names.ok()) return found;
  for (const std::string& name : *names) {
    int pid = 0;
    if (!absl::SimpleAtoi(name, &pid) || pid == getpid()) continue;
    const auto command = ReadFile(absl::StrCat("/proc/", name, "/cmdline"), 1 << 20);
    if (command.ok() && absl::StrContains(*command, folder_ + "/")) found.push_back(pid);
  }
  return found;
}

std::string UndisturbedWeights(const JobOptions& options) {
  static auto& known = *new std::map<std::string, std::string>;
  const std::string key = JobText(options, "", "");
  if (!known.contains(key)) {
    SmallRun run(absl::StrCat("undisturbed-", known.size()), options);
    EXPECT_EQ(run.Start(), 0) << run.output();
    known[key] = run.FinalWeights();
  }
  EXPECT_EQ(known[key].size(), 32);
  return known[key];
}

}  // namespace retort::e2e
