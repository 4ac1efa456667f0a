#include "driver/schedule/simulated_cluster.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/digest.h"

namespace retort::driver {
namespace {

std::string HashOf(const std::string& text) { return DigestOf(absl::string_view(text)).ToHex(); }

std::string ArtifactId(absl::string_view kind, const v1::BundleId& bundle) {
  return absl::StrCat(kind, "/", bundle.step(), "/", bundle.index());
}

}  // namespace

SimulatedCluster::SimulatedCluster(ScheduleConfig config, const SimulationOptions& options)
    : config_(std::move(config)), options_(options), random_(options.seed) {
  StartDriver();
}

void SimulatedCluster::StartDriver() {
  History history;
  history.epoch = epochs_.empty() ? 1 : epochs_.back().epoch + 1;
  history.checkpoints = checkpoints_;
  for (const auto& [step, commit] : commits_) {
    history.commits[step] = {commit.weight_digest, commit.state_digest, commit.bad_step};
  }
  for (const JournalBundle& entry : bundle_log_) {
    if (entry.kind != BundleEventKind::kReported || entry.digest.empty()) continue;
    auto& digests = history.bundles[entry.bundle.step()];
    digests.resize(config_.TrainBundles());
    digests[entry.bundle.index()] = *Digest::FromHex(entry.digest);
  }
  for (const auto& [version, record] : evals_) history.evaluated[version] = true;
  if (scheduler_ != nullptr) refused_ += scheduler_->snapshot().refused_messages;
  scheduler_ = std::make_unique<Scheduler>(config_, std::move(history));
  processes_.clear();
  pending_.clear();
  joining_.clear();
  stopped_ = false;
  for (Action& action : scheduler_->Start(now_)) {
    std::visit([this](const auto& a) { Do(a); }, action);
  }
  for (int i = 0; i < config_.rollouts; ++i) joining_.push_back({v1::ROLE_ROLLOUT, i});
  for (int i = 0; i < config_.scorers; ++i) joining_.push_back({v1::ROLE_SCORER, i});
  for (int i = 0; i < config_.learners; ++i) joining_.push_back({v1::ROLE_LEARNER, i});
}

bool SimulatedCluster::Chance(double probability) {
  return probability > 0 && std::uniform_real_distribution<>(0, 1)(random_) < probability;
}

WorkerId SimulatedCluster::RandomWorker() {
  auto it = processes_.begin();
  std::advance(it, random_() % processes_.size());
  return it->first;
}

bool SimulatedCluster::Run(int64_t max_events) {
  while (failure_.empty() && done_digest_.empty() && events_ < max_events) {
    ++events_;
    now_ += absl::Milliseconds(10);
    Disturb();
    if (stopped_) {
      ++restarts_;
      StartDriver();
    }
    const size_t choices = joining_.size() + pending_.size();
    if (choices == 0) {  // Everybody waits for somebody who hangs.
      now_ += absl::Seconds(60);
      Feed(Tick{});
      continue;
    }
    const size_t choice = random_() % choices;
    if (choice < joining_.size()) {
      const WorkerId worker = joining_[choice];
      joining_.erase(joining_.begin() + choice);
      Join(worker);
      continue;
    }
    std::swap(pending_[choice - joining_.size()], pending_.back());
    const Pending next = std::move(pending_.back());
    pending_.pop_back();
    if (options_.zombie_rate > 0) old_messages_.push_back(next);
    Feed(WorkerSaid{next.worker, next.incarnation, next.message});
  }
  return !failure_.empty() || !done_digest_.empty();
}

void SimulatedCluster::Disturb() {
  if (Chance(options_.loss_rate) && !processes_.empty()) Die(RandomWorker(), true);
  if (Chance(options_.zombie_rate) && !old_messages_.empty()) {
    const Pending& old = old_messages_[random_() % old_messages_.size()];
    const auto process = processes_.find(old.worker);
    // A duplicate of the living process, or a zombie's: the cluster lets only current incarnations
    // through, so both are tried with the incarnation that was current then.
    Feed(WorkerSaid{old.worker, old.incarnation, old.message});
    if (process != processes_.end() && process->second.alive) {
      Feed(WorkerSaid{old.worker, process->second.incarnation, old.message});
    }
  }
  if (Chance(options_.stop_rate)) Feed(StopRequested{});
  if (Chance(options_.restart_rate)) {
    ++restarts_;
    StartDriver();
  }
}

void SimulatedCluster::Join(WorkerId worker) {
  Process& process = processes_[worker];
  process = Process{true, absl::StrCat("p", ++next_incarnation_), {}};
  v1::WorkerMessage ready;
  ready.mutable_worker_ready();
  Reply(worker, std::move(ready));
  Feed(WorkerJoined{worker, process.incarnation});
}

void SimulatedCluster::Die(WorkerId worker, bool tell_driver) {
  const auto it = processes_.find(worker);
  if (it == processes_.end() || !it->second.alive) return;
  const std::string incarnation = it->second.incarnation;
  it->second = Process{};
  std::erase_if(pending_, [&](const Pending& p) { return p.worker == worker; });
  joining_.push_back(worker);
  if (!tell_driver) return;
  ++losses_;
  Feed(WorkerLost{worker, incarnation, "killed by signal 9"});
}

void SimulatedCluster::Feed(const Event& event) {
  for (Action& action : scheduler_->Handle(event, now_)) {
    std::visit([this](const auto& a) { Do(a); }, action);
  }
}

void SimulatedCluster::Do(const SendMessage& send) {
  const auto it = processes_.find(send.worker);
  if (it == processes_.end() || !it->second.alive) return;
  if (Chance(options_.hang_rate)) return;
  Obey(send.worker, send.message);
}

void SimulatedCluster::Do(const KillWorker& kill) { Die(kill.worker, false); }

void SimulatedCluster::Do(const JournalCommit& commit) {
  if (!commits_.emplace(commit.step, commit).second) {
    violations_.push_back(absl::StrCat("step ", commit.step, " was committed twice"));
  }
}

void SimulatedCluster::Do(const JournalCheckpoint& checkpoint) {
  checkpoints_.push_back(checkpoint.step);
}

void SimulatedCluster::Do(const DropCheckpoint& drop) {
  std::erase_if(checkpoints_, [&](int64_t step) { return CheckpointName(step) == drop.name; });
}

void SimulatedCluster::Do(const CheckpointUnusable& unusable) {
  unusable_.push_back(unusable.name);
  Do(DropCheckpoint{unusable.name});
}

void SimulatedCluster::Do(const JournalEpoch& epoch) {
  if (!epochs_.empty() && epoch.epoch <= epochs_.back().epoch) {
    violations_.push_back("an epoch did not grow");
  }
  epochs_.push_back(epoch);
}

void SimulatedCluster::Do(const JournalEval& eval) {
  if (!evals_.emplace(eval.record.version(), eval.record).second) {
    violations_.push_back(absl::StrCat("version ", eval.record.version(), " was evaluated twice"));
  }
}

void SimulatedCluster::Obey(WorkerId worker, const v1::DriverMessage& message) {
  v1::WorkerMessage reply;
  if (message.has_rollout_lease()) return Generate(worker, message.rollout_lease());
  if (message.has_score_lease()) return Score(worker, message.score_lease());
  if (message.has_form_group()) return Form(worker, message.form_group());
  if (message.has_train_step()) return Train(worker, message.train_step());
  if (message.has_write_checkpoint()) {
    const v1::WriteCheckpoint& write = message.write_checkpoint();
    saved_[write.name()] = Saved{write.step(), ring_of_rank_[worker.index]};
    v1::CheckpointReport* report = reply.mutable_checkpoint_report();
    report->set_epoch(write.epoch());
    report->set_step(write.step());
    report->set_rank(worker.index);
    report->set_name(write.name());
    return Reply(worker, std::move(reply));
  }
  if (message.has_export_model()) {
    v1::ExportReport* report = reply.mutable_export_report();
    report->set_epoch(message.export_model().epoch());
    report->set_path(message.export_model().path());
    report->set_weight_digest(ring_of_rank_[0][step_of_rank_[0]]);
    return Reply(worker, std::move(reply));
  }
  if (message.has_release_artifacts()) {
    const int64_t up_to = message.release_artifacts().up_to_step();
    std::erase_if(processes_[worker].artifacts, [&](const std::string& id) {
      const int64_t step = std::stoll(id.substr(id.find('/') + 1));
      return up_to < 0 || step <= up_to;
    });
  }
}

void SimulatedCluster::Reply(WorkerId worker, v1::WorkerMessage message) {
  pending_.push_back({worker, processes_[worker].incarnation, std::move(message)});
}

void SimulatedCluster::Generate(WorkerId worker, const v1::RolloutLease& lease) {
  v1::WorkerMessage message;
  v1::RolloutReport* report = message.mutable_rollout_report();
  *report->mutable_fence() = lease.fence();
  *report->mutable_bundle() = lease.bundle();
  report->set_version(lease.version());
  report->set_version_digest(lease.version_digest());
  auto& ring = ring_of_rank_[0];
  const auto published = ring.find(lease.version());
  if (published == ring.end() || published->second != lease.version_digest()) {
    violations_.push_back(
        absl::StrCat("version ", lease.version(), " was leased but is not in the ring"));
  }
  if (lease.bundle().kind() == v1::BUNDLE_KIND_EVAL) {
    report->mutable_eval()->set_rows(lease.rows_size());
    report->mutable_eval()->set_exact_matches((lease.version() + lease.bundle().index()) %
                                              (lease.rows_size() + 1));
    return Reply(worker, std::move(message));
  }
  std::string content = absl::StrCat(lease.version_digest(), "/", lease.bundle().step());
  for (const int64_t row : lease.rows()) absl::StrAppend(&content, ",", row);
  if (corrupt_.contains({lease.bundle().step(), lease.bundle().index()})) content += "corrupt";
  for (int i = 0; i < lease.rows_size() * config_.samples_per_slot; ++i) {
    report->add_prompt_lengths(3);
    report->add_response_lengths(5);
  }
  v1::ArtifactRef* ref = report->mutable_artifact();
  ref->set_artifact_id(ArtifactId("rollout", lease.bundle()));
  ref->set_address(processes_[worker].incarnation);
  ref->set_digest(HashOf(content));
  ref->set_bytes(100);
  processes_[worker].artifacts.insert(ref->artifact_id());
  Reply(worker, std::move(message));
}

bool SimulatedCluster::Reachable(const v1::ArtifactRef& ref) const {
  for (const auto& [worker, process] : processes_) {
    if (process.incarnation == ref.address()) return process.artifacts.contains(ref.artifact_id());
  }
  return false;
}

void SimulatedCluster::Score(WorkerId worker, const v1::ScoreLease& lease) {
  v1::WorkerMessage message;
  if (!Reachable(lease.rollout())) {
    v1::FetchFailed* failed = message.mutable_fetch_failed();
    *failed->mutable_fence() = lease.fence();
    failed->set_artifact_id(lease.rollout().artifact_id());
    failed->set_address(lease.rollout().address());
    return Reply(worker, std::move(message));
  }
  v1::ScoreReport* report = message.mutable_score_report();
  *report->mutable_fence() = lease.fence();
  *report->mutable_bundle() = lease.bundle();
  v1::ArtifactRef* ref = report->mutable_artifact();
  ref->set_artifact_id(ArtifactId("scores", lease.bundle()));
  ref->set_address(processes_[worker].incarnation);
  ref->set_digest(HashOf(lease.rollout().digest() + "scores"));
  ref->set_bytes(50);
  processes_[worker].artifacts.insert(ref->artifact_id());
  Reply(worker, std::move(message));
}

void SimulatedCluster::Form(WorkerId worker, const v1::FormGroup& form) {
  v1::WorkerMessage message;
  auto& ring = ring_of_rank_[worker.index];
  if (broken_checkpoints_.contains(form.checkpoint())) {
    v1::WorkFailed* failed = message.mutable_work_failed();
    failed->mutable_fence()->set_epoch(form.epoch());
    failed->set_code(static_cast<int>(absl::StatusCode::kDataLoss));
    failed->set_message(form.checkpoint() + "/shard-0: 3 bytes, expected 100");
    return Reply(worker, std::move(message));
  }
  Saved start{0, {{0, HashOf("start")}}};
  if (!form.checkpoint().empty()) start = saved_.at(form.checkpoint());
  ring = start.ring;
  step_of_rank_[worker.index] = start.step;
  v1::LearnerReady* ready = message.mutable_learner_ready();
  ready->set_epoch(form.epoch());
  ready->set_generation(form.generation());
  ready->set_step(start.step);
  ready->set_weight_digest(ring.at(start.step));
  for (const auto& [version, digest] : ring) {
    v1::PublishedVersion* published = ready->add_published();
    published->set_version(version);
    published->set_digest(digest);
  }
  Reply(worker, std::move(message));
}

void SimulatedCluster::Train(WorkerId worker, const v1::TrainStep& train) {
  v1::WorkerMessage message;
  const int64_t step = train.fence().step();
  auto& ring = ring_of_rank_[worker.index];
  std::string content = absl::StrCat(ring[step], "/", step);
  for (const int64_t row : train.rows()) absl::StrAppend(&content, ",", row);
  for (const v1::TrainBundle& bundle : train.bundles()) {
    for (const v1::ArtifactRef* ref : {&bundle.rollout(), &bundle.scores()}) {
      if (ref->artifact_id().empty() || Reachable(*ref)) continue;
      v1::FetchFailed* failed = message.mutable_fetch_failed();
      *failed->mutable_fence() = train.fence();
      failed->set_artifact_id(ref->artifact_id());
      failed->set_address(ref->address());
      return Reply(worker, std::move(message));
    }
    absl::StrAppend(&content, bundle.rollout().digest(), bundle.scores().digest());
  }
  if (corrupt_weights_.contains(step)) content += "corrupt";
  const bool bad = bad_steps_.contains(step);
  ring[step + 1] = bad ? ring[step] : HashOf(content);
  ring.erase(step + 1 - (config_.lag + 2));
  step_of_rank_[worker.index] = step + 1;
  v1::TrainReport* report = message.mutable_train_report();
  *report->mutable_fence() = train.fence();
  report->set_rank(worker.index);
  report->mutable_published()->set_version(step + 1);
  report->mutable_published()->set_digest(ring[step + 1]);
  report->set_state_digest(HashOf(ring[step + 1] + "state"));
  report->set_bad_step(bad);
  if (bad) report->set_bad_batch_path("RUN/bad-batch-7.safetensors");
  Reply(worker, std::move(message));
}

}  // namespace retort::driver
