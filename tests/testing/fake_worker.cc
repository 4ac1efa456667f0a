#include "testing/fake_worker.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/rpc/build_version.h"
#include "common/rpc/channel.h"

namespace retort::testing {
namespace {

std::string HashOf(const std::string& text) { return DigestOf(absl::string_view(text)).ToHex(); }

std::unique_ptr<rpc::AttachClient> Dial(const FakeWorkerOptions& options, const v1::Hello& hello) {
  auto channel = rpc::MakeChannel(options.address, {});
  RETORT_CHECK(channel.ok()) << channel.status();
  rpc::AttachClientOptions attach;
  attach.channel = *channel;
  attach.hello = hello;
  auto client = rpc::AttachClient::Connect(*options.token, std::move(attach));
  return client.ok() ? *std::move(client) : nullptr;
}

}  // namespace

void FakeDisk::Save(const std::string& name, int64_t step, const Ring& ring) {
  MutexLock lock(&mutex_);
  saved_[name] = {step, ring};
}

std::pair<int64_t, FakeDisk::Ring> FakeDisk::Load(const std::string& name) {
  MutexLock lock(&mutex_);
  if (name.empty()) return {0, {{0, HashOf("start")}}};
  return saved_.at(name);
}

FakeWorker::FakeWorker(FakeWorkerOptions options, v1::Hello hello,
                       std::function<void(v1::ChildExited)> on_exit)
    : options_(std::move(options)), hello_(std::move(hello)), on_exit_(std::move(on_exit)) {
  exit_.set_incarnation(hello_.incarnation());
  exit_.set_pid(hello_.pid());
  exit_.set_exit_code(0);
  thread_ = std::thread([this] { Live(); });
}

FakeWorker::~FakeWorker() {
  Kill();
  thread_.join();
}

void FakeWorker::Kill() { killed_ = true; }

void FakeWorker::Live() {
  client_ = Dial(options_, hello_);
  if (client_ != nullptr) {
    id_ = {client_->welcome().role(), client_->welcome().index()};
    if (options_.welcomed) options_.welcomed(client_->welcome());
    v1::WorkerMessage ready;
    ready.mutable_worker_ready();
    (void)client_->Send(ready);
    while (!killed_) {
      absl::StatusOr<v1::DriverMessage> command = client_->Pop(absl::Milliseconds(5));
      if (absl::IsDeadlineExceeded(command.status())) continue;
      if (!command.ok()) break;
      if (!hung_ && !Obey(*command)) break;
    }
    if (killed_) client_->Cancel();
    (void)client_->Finish(absl::Seconds(1));
  }
  exit_.set_worker(driver::NameOf({hello_.role(), hello_.index()}));
  if (killed_) {
    exit_.set_exit_code(-1);
    exit_.set_signal(9);
  }
  if (on_exit_) on_exit_(exit_);
}

bool FakeWorker::Obey(const v1::DriverMessage& command) {
  const FakeFate fate = options_.fate ? options_.fate(id_, command) : FakeFate::kLive;
  if (fate == FakeFate::kDie) killed_ = true;
  if (fate == FakeFate::kBadInput) exit_.set_exit_code(2);
  if (fate == FakeFate::kHang) hung_ = true;
  if (fate == FakeFate::kHang) return true;
  if (fate == FakeFate::kDie || fate == FakeFate::kBadInput) return false;
  v1::WorkerMessage answer;
  if (command.has_rollout_lease()) answer = Generate(command.rollout_lease());
  if (command.has_score_lease()) answer = Score(command.score_lease());
  if (fate == FakeFate::kDataLoss) {
    answer.mutable_work_failed()->mutable_fence()->set_epoch(command.form_group().epoch());
    answer.mutable_work_failed()->set_code(static_cast<int>(absl::StatusCode::kDataLoss));
    answer.mutable_work_failed()->set_message("shard-0: 3 bytes, expected 9");
  } else if (command.has_form_group()) {
    answer = Form(command.form_group());
  }
  if (command.has_train_step()) answer = Train(command.train_step());
  if (command.has_write_checkpoint()) {
    const v1::WriteCheckpoint& write = command.write_checkpoint();
    if (id_.index == 0) options_.disk->Save(write.name(), write.step(), ring_);
    answer.mutable_checkpoint_report()->set_epoch(write.epoch());
    answer.mutable_checkpoint_report()->set_step(write.step());
    answer.mutable_checkpoint_report()->set_rank(id_.index);
  }
  if (command.has_export_model()) {
    answer.mutable_export_report()->set_epoch(command.export_model().epoch());
    answer.mutable_export_report()->set_path(command.export_model().path());
    answer.mutable_export_report()->set_weight_digest(ring_[step_]);
  }
  if (command.has_shutdown()) return false;
  if (answer.kind_case() != v1::WorkerMessage::KIND_NOT_SET && !client_->Send(answer).ok())
    return false;
  if (fate != FakeFate::kDieAfter) return true;
  (void)client_->Finish(absl::Seconds(1));  // The answer leaves before it dies.
  killed_ = true;
  return false;
}

v1::WorkerMessage FakeWorker::Generate(const v1::RolloutLease& lease) {
  v1::WorkerMessage message;
  v1::RolloutReport* report = message.mutable_rollout_report();
  *report->mutable_fence() = lease.fence();
  *report->mutable_bundle() = lease.bundle();
  report->set_version(lease.version());
  report->set_version_digest(lease.version_digest());
  if (lease.bundle().kind() == v1::BUNDLE_KIND_EVAL) {
    report->mutable_eval()->set_rows(lease.rows_size());
    report->mutable_eval()->set_exact_matches(lease.version() % (lease.rows_size() + 1));
    return message;
  }
  std::string content = absl::StrCat(lease.version_digest(), "/", lease.bundle().step());
  for (const int64_t row : lease.rows()) absl::StrAppend(&content, ",", row);
  for (int i = 0; i < lease.rows_size() * options_.samples_per_slot; ++i) {
    report->add_prompt_lengths(3);
    report->add_response_lengths(5);
  }
  v1::ArtifactRef* ref = report->mutable_artifact();
  ref->set_artifact_id(
      absl::StrCat("rollout/", lease.bundle().step(), "/", lease.bundle().index()));
  ref->set_address(hello_.artifact_address());
  ref->set_digest(HashOf(content));
  ref->set_bytes(100);
  report->set_generated_tokens(5 * lease.rows_size());
  report->set_generate_seconds(0.001);
  return message;
}

v1::WorkerMessage FakeWorker::Score(const v1::ScoreLease& lease) {
  v1::WorkerMessage message;
  v1::ScoreReport* report = message.mutable_score_report();
  *report->mutable_fence() = lease.fence();
  *report->mutable_bundle() = lease.bundle();
  v1::ArtifactRef* ref = report->mutable_artifact();
  ref->set_artifact_id(absl::StrCat("scores/", lease.bundle().step(), "/", lease.bundle().index()));
  ref->set_address(hello_.artifact_address());
  ref->set_digest(HashOf(lease.rollout().digest() + "scores"));
  ref->set_bytes(50);
  return message;
}

v1::WorkerMessage FakeWorker::Form(const v1::FormGroup& form) {
  v1::WorkerMessage message;
  std::tie(step_, ring_) = options_.disk->Load(form.checkpoint());
  v1::LearnerReady* ready = message.mutable_learner_ready();
  ready->set_epoch(form.epoch());
  ready->set_generation(form.generation());
  ready->set_step(step_);
  ready->set_weight_digest(ring_.at(step_));
  for (const auto& [version, digest] : ring_) {
    v1::PublishedVersion* published = ready->add_published();
    published->set_version(version);
    published->set_digest(digest);
  }
  return message;
}

v1::WorkerMessage FakeWorker::Train(const v1::TrainStep& train) {
  v1::WorkerMessage message;
  const int64_t step = train.fence().step();
  std::string content = absl::StrCat(ring_[step], "/", step);
  for (const int64_t row : train.rows()) absl::StrAppend(&content, ",", row);
  for (const v1::TrainBundle& bundle : train.bundles()) {
    absl::StrAppend(&content, bundle.rollout().digest(), bundle.scores().digest());
  }
  ring_[step + 1] = HashOf(content);
  ring_.erase(step + 1 - (options_.lag + 2));
  step_ = step + 1;
  v1::TrainReport* report = message.mutable_train_report();
  *report->mutable_fence() = train.fence();
  report->set_rank(id_.index);
  report->mutable_published()->set_version(step + 1);
  report->mutable_published()->set_digest(ring_[step + 1]);
  report->set_state_digest(HashOf(ring_[step + 1] + "state"));
  (*report->mutable_record()->mutable_scalars())["loss"] = 1.0 / static_cast<double>(step + 1);
  return message;
}

FakeFleet::~FakeFleet() {
  Kill();
  if (thread_.joinable()) thread_.join();
}

absl::Status FakeFleet::Launch(const std::string& incarnation) {
  if (thread_.joinable()) thread_.join();
  stop_ = false;
  {
    MutexLock lock(&mutex_);
    ended_ = end_taken_ = false;
  }
  thread_ = std::thread([this, incarnation] {
    Live(incarnation);
    MutexLock lock(&mutex_);
    ended_ = true;
    changed_.NotifyAll();
  });
  return absl::OkStatus();
}

void FakeFleet::Kill() { stop_ = true; }

std::optional<std::string> FakeFleet::TakeEnd() {
  MutexLock lock(&mutex_);
  if (!ended_ || std::exchange(end_taken_, true)) return std::nullopt;
  return "killed by signal 9";
}

bool FakeFleet::Await(absl::Duration timeout) {
  const absl::Duration deadline = Clock::Real()->Now() + timeout;
  MutexLock lock(&mutex_);
  while (!ended_ && Clock::Real()->Now() < deadline) {
    changed_.WaitWithTimeout(&mutex_, deadline - Clock::Real()->Now());
  }
  end_taken_ = ended_;
  return ended_;
}

void FakeFleet::Live(std::string incarnation) {
  v1::Hello hello;
  hello.set_role(v1::ROLE_AGENT);
  hello.set_incarnation(incarnation);
  hello.set_build(std::string(rpc::BuildVersion()));
  hello.set_pid(1);
  hello.set_host("here");
  const std::unique_ptr<rpc::AttachClient> client = Dial(options_, hello);
  while (client != nullptr && !stop_) {
    absl::StatusOr<v1::DriverMessage> command = client->Pop(absl::Milliseconds(5));
    if (absl::IsDeadlineExceeded(command.status())) continue;
    if (!command.ok() || command->has_shutdown()) break;
    Obey(*client, *command);
  }
  children_.clear();
}

void FakeFleet::Obey(rpc::AttachClient& client, const v1::DriverMessage& command) {
  if (command.has_spawn_child()) {
    const v1::SpawnChild& spawn = command.spawn_child();
    v1::Hello hello;
    hello.set_role(spawn.role());
    hello.set_index(spawn.index());
    hello.set_incarnation(spawn.incarnation());
    hello.set_build(std::string(rpc::BuildVersion()));
    hello.set_pid(++spawned_);
    hello.set_host("here");
    hello.set_artifact_address(absl::StrCat("127.0.0.1:", 10000 + spawned_));
    const std::string name = spawn.worker();
    children_.erase(name);
    children_[name] =
        std::make_unique<FakeWorker>(options_, hello, [&client](v1::ChildExited exited) {
          v1::WorkerMessage message;
          *message.mutable_child_exited() = std::move(exited);
          (void)client.Send(message);
        });
  }
  if (command.has_kill_child()) {
    const auto child = children_.find(command.kill_child().worker());
    if (child != children_.end() &&
        child->second->incarnation() == command.kill_child().incarnation()) {
      child->second->Kill();
    }
  }
}

}  // namespace retort::testing
