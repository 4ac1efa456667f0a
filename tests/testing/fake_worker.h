// Workers without models, for tests and benches of the driver: they speak the Attach protocol over
// real gRPC and answer with digests that depend on exactly what real results depend on. FakeFleet
// is an agent whose children are threads.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/rpc/access_token.h"
#include "common/rpc/attach_client.h"
#include "driver/cluster/worker_id.h"
#include "driver/service/agent_launcher.h"
#include "retort/v1/control.pb.h"

namespace retort::testing {

// What outlives the fake processes: checkpoints and the weight ring. Thread-safe.
class FakeDisk {
 public:
  using Ring = std::map<int64_t, std::string>;  // Version -> digest.
  void Save(const std::string& name, int64_t step, const Ring& ring);
  std::pair<int64_t, Ring> Load(const std::string& name);

 private:
  Mutex mutex_;
  std::map<std::string, std::pair<int64_t, Ring>> saved_ ABSL_GUARDED_BY(mutex_);
};

enum class FakeFate {
  kLive,
  kDie,       // As by SIGKILL, before the command is obeyed.
  kDieAfter,  // After the answer was sent.
  kHang,      // Says nothing any more, its stream stays open.
  kBadInput,  // Exits with status 2.
  kDataLoss,  // Says that the work failed for a damaged file. FormGroup only.
};

struct FakeWorkerOptions {
  std::string address;  // Of the driver.
  std::optional<rpc::AccessToken> token;
  std::shared_ptr<FakeDisk> disk;
  int samples_per_slot = 1;
  int lag = 0;
  std::function<void(const v1::Welcome&)> welcomed;  // May be empty. Thread-safe.
  // Called for each command; may be empty. Thread-safe.
  std::function<FakeFate(const driver::WorkerId&, const v1::DriverMessage&)> fate;
};

// One worker on its own thread.
class FakeWorker {
 public:
  // `hello` says who it is; role UNSPECIFIED with mpi_rank asks the driver for one.
  FakeWorker(FakeWorkerOptions options, v1::Hello hello,
             std::function<void(v1::ChildExited)> on_exit);
  ~FakeWorker();  // Kills it.
  void Kill();    // As SIGKILL.
  const std::string& incarnation() const { return hello_.incarnation(); }

 private:
  void Live();
  // False when it ends.
  bool Obey(const v1::DriverMessage& command);
  v1::WorkerMessage Generate(const v1::RolloutLease& lease);
  v1::WorkerMessage Score(const v1::ScoreLease& lease);
  v1::WorkerMessage Form(const v1::FormGroup& form);
  v1::WorkerMessage Train(const v1::TrainStep& train);

  const FakeWorkerOptions options_;
  const v1::Hello hello_;
  const std::function<void(v1::ChildExited)> on_exit_;
  std::unique_ptr<rpc::AttachClient> client_;
  driver::WorkerId id_;
  std::atomic<bool> killed_{false};
  bool hung_ = false;
  v1::ChildExited exit_;
  // A learner's state.
  FakeDisk::Ring ring_;
  int64_t step_ = 0;
  std::thread thread_;
};

// An agent in this process. Thread-safe.
class FakeFleet : public driver::AgentLauncher {
 public:
  explicit FakeFleet(FakeWorkerOptions options) : options_(std::move(options)) {}
  ~FakeFleet() override;

  absl::Status Launch(const std::string& incarnation) override;
  void Kill() override;
  std::optional<std::string> TakeEnd() override;
  bool Await(absl::Duration timeout) override;

  int spawned() const { return spawned_; }

 private:
  void Live(std::string incarnation);
  void Obey(rpc::AttachClient& client, const v1::DriverMessage& command);

  const FakeWorkerOptions options_;
  std::atomic<int> spawned_{0};
  std::atomic<bool> stop_{false};
  Mutex mutex_;
  CondVar changed_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = true;
  bool end_taken_ ABSL_GUARDED_BY(mutex_) = true;
  std::map<std::string, std::unique_ptr<FakeWorker>> children_;  // The agent thread's.
  std::thread thread_;
};

}  // namespace retort::testing
