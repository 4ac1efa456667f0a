// Finished bundles: what was reported must belong to the lease, and must equal what was reported
// before.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "driver/schedule/scheduler.h"

namespace retort::driver {
namespace {

absl::StatusOr<Artifact> ArtifactFrom(const v1::ArtifactRef& ref) {
  absl::StatusOr<Digest> digest = Digest::FromHex(ref.digest());
  if (!digest.ok()) return digest.status();
  if (ref.artifact_id().empty() || ref.artifact_id().size() > 128 || ref.address().empty() ||
      ref.address().size() > 256 || ref.bytes() <= 0) {
    return absl::InvalidArgumentError("the artifact reference is incomplete");
  }
  return Artifact{ref.artifact_id(), ref.address(), *digest, ref.bytes()};
}

constexpr int kSampledBundles = 8;  // Their sample texts are kept until the commit.

}  // namespace

void Scheduler::OnProgress(WorkerId worker, const v1::Progress& progress) {
  WorkerPool& pool = Pool(worker.role);
  if (!pool.Matches(worker.index, progress.fence())) {
    ++refused_;
    return;
  }
  const Gain gain = pool.Progress(worker.index, progress, now_);
  if (worker.role == v1::ROLE_LEARNER) {
    // Inside a collective a rank waits for one that still computes. What it did wrong before is not
    // forgiven for that: the step may have been committed before.
    learners_.RenewAll(gain, now_);
  } else if (gain == Gain::kUnit) {
    Emit(ProgressNoted{worker});
  }
}

std::string Scheduler::CheckRollout(const Task& task, const v1::RolloutReport& report) const {
  const bool train = task.phase == Phase::kGenerate;
  const v1::BundleKind kind = train ? v1::BUNDLE_KIND_TRAIN : v1::BUNDLE_KIND_EVAL;
  if (report.bundle().kind() != kind || report.bundle().step() != task.step ||
      report.bundle().index() != task.index) {
    return "it names another bundle than the lease";
  }
  if (report.version() != (train ? config_.VersionOf(task.step) : task.step)) {
    return absl::StrCat("it was made with version ", report.version());
  }
  const int64_t rows = BundleRows(kind, task.index);
  if (!train) {
    if (report.eval().rows() == rows) return "";
    return absl::StrCat("it evaluated ", report.eval().rows(), " rows of ", rows);
  }
  const int64_t samples = rows * config_.samples_per_slot;
  if (report.prompt_lengths_size() != samples || report.response_lengths_size() != samples) {
    return absl::StrCat("it has ", report.prompt_lengths_size(), " prompt and ",
                        report.response_lengths_size(), " response lengths, expected ", samples);
  }
  for (const int32_t length : report.response_lengths()) {
    if (length < 1) return "a response is empty";
  }
  return "";
}

void Scheduler::OnRolloutReport(int worker, const v1::RolloutReport& report) {
  const WorkerId id{v1::ROLE_ROLLOUT, worker};
  if (!rollouts_.Matches(worker, report.fence())) return Refuse(id, "a stale RolloutReport");
  const Task task = rollouts_.task(worker);
  const bool current = task.epoch == epoch_;
  rollouts_.Finish(worker, current, times_, now_);
  if (!current) return Refuse(id, "a RolloutReport of an earlier epoch");
  if (const std::string wrong = CheckRollout(task, report); !wrong.empty()) {
    if (task.phase == Phase::kGenerate) {
      LoseRollout({task.step, task.index}, wrong);
    } else {
      LoseEvaluation(worker, task, wrong);
    }
    if (!over_) Kill(id, absl::StrCat("bad RolloutReport: ", wrong));
    return;
  }
  if (report.version_digest() != WeightDigest(report.version())) {
    return Fail(absl::StrCat("version ", report.version(), " has digest ", report.version_digest(),
                             " on ", NameOf(id), " but ", WeightDigest(report.version()),
                             " where it was published; weights were damaged on the way"),
                id);
  }
  Emit(ProgressNoted{id});
  if (task.phase == Phase::kGenerate) {
    OnTrainRollout(worker, task, report);
  } else {
    OnEvalRollout(worker, task, report);
  }
}

bool Scheduler::SameAsJournal(HeldKey key, const Digest& digest) {
  std::vector<Digest>& known = bundle_digests_[key.step];
  known.resize(config_.TrainBundles());
  if (known[key.index] == Digest{}) known[key.index] = digest;
  if (known[key.index] == digest) return true;
  Fail(absl::StrCat("divergence: bundle ", key.index, " of step ", key.step, " has digest ",
                    digest.ToHex(), " now and had ", known[key.index].ToHex(),
                    " before; the same build on the same kind of CPU must repeat it, so check the "
                    "memory of this host and that nothing of the job changed"));
  return false;
}

void Scheduler::OnTrainRollout(int worker, const Task& task, const v1::RolloutReport& report) {
  const HeldKey key{task.step, task.index};
  const WorkerId id{v1::ROLE_ROLLOUT, worker};
  absl::StatusOr<Artifact> artifact = ArtifactFrom(report.artifact());
  if (!artifact.ok()) {
    LoseRollout(key, artifact.status().message());
    if (!over_) Kill(id, absl::StrCat("bad RolloutReport: ", artifact.status().message()));
    return;
  }
  if (!SameAsJournal(key, artifact->digest)) return;
  if (board_.Change(key, {BundleChange::kReport, worker, task.attempt}) ==
      BundleVerdict::kRefused) {
    return Refuse(id, "a RolloutReport of a bundle that was lost");
  }
  OpenStep& open = *board_.Find(key.step);
  Bundle& bundle = open.bundles[key.index];
  JournalBundle entry;
  entry.kind = BundleEventKind::kReported;
  entry.bundle = report.bundle();
  entry.attempt = task.attempt;
  entry.worker = id;
  entry.incarnation = rollouts_.incarnation(worker);
  entry.digest = artifact->digest.ToHex();
  entry.prompt_lengths.assign(report.prompt_lengths().begin(), report.prompt_lengths().end());
  entry.response_lengths.assign(report.response_lengths().begin(), report.response_lengths().end());
  bundle.held = std::make_unique<Artifact>(*std::move(artifact));
  Emit(std::move(entry));
  rollouts_.Hold(worker, key, current_);
  open.times.last_report = now_;
  open.times.generate_seconds += report.generate_seconds();
  open.times.install_seconds += report.install_seconds();
  open.times.generated_tokens += report.generated_tokens();
  if (key.index < kSampledBundles) {
    open.samples[key.index].assign(report.samples().begin(), report.samples().end());
  }
}

void Scheduler::OnEvalRollout(int worker, const Task& task, const v1::RolloutReport& report) {
  const HeldKey key{task.step, task.index};
  const WorkerId id{v1::ROLE_ROLLOUT, worker};
  if (!evals_.Report(key, worker, task.attempt, report)) {
    return Refuse(id, "a RolloutReport of an evaluation that is over");
  }
  JournalBundleEvent(BundleEventKind::kReported, v1::BUNDLE_KIND_EVAL, key, task.attempt, id, "");
  std::optional<v1::EvalRecord> record = evals_.TakeFinished(key.step);
  if (!record.has_value()) return;
  evaluated_[key.step] = true;
  Emit(JournalEval{*std::move(record)});
}

void Scheduler::OnScoreReport(int scorer, const v1::ScoreReport& report) {
  const WorkerId id{v1::ROLE_SCORER, scorer};
  if (!scorers_.Matches(scorer, report.fence())) return Refuse(id, "a stale ScoreReport");
  const Task task = scorers_.task(scorer);
  const bool current = task.epoch == epoch_;
  scorers_.Finish(scorer, current, times_, now_);
  if (!current) return Refuse(id, "a ScoreReport of an earlier epoch");
  const HeldKey key{task.step, task.index};
  absl::StatusOr<Artifact> artifact = ArtifactFrom(report.artifact());
  if (!artifact.ok() || report.bundle().step() != task.step ||
      report.bundle().index() != task.index) {
    LoseScores(key, "bad ScoreReport");
    if (!over_) Kill(id, "bad ScoreReport: it names another bundle, or no artifact");
    return;
  }
  if (board_.Change(key, {BundleChange::kScored, scorer, task.attempt}) ==
      BundleVerdict::kRefused) {
    return Refuse(id, "a ScoreReport of a bundle that was lost");
  }
  OpenStep& open = *board_.Find(key.step);
  Bundle& bundle = open.bundles[key.index];
  if (bundle.first_scores == Digest{}) bundle.first_scores = artifact->digest;
  if (bundle.first_scores != artifact->digest) {
    return Fail(absl::StrCat("divergence: the scores of bundle ", key.index, " of step ", key.step,
                             " have digest ", artifact->digest.ToHex(), " now and had ",
                             bundle.first_scores.ToHex(), " before"),
                id);
  }
  JournalBundleEvent(BundleEventKind::kScored, v1::BUNDLE_KIND_TRAIN, key, task.attempt, id, "");
  std::get<JournalBundle>(actions_.back()).digest = artifact->digest.ToHex();
  bundle.scores = std::make_unique<Artifact>(*std::move(artifact));
  scorers_.Hold(scorer, key, current_);
  Emit(ProgressNoted{id});
  open.times.last_score = now_;
  open.times.score_seconds += report.score_seconds();
  open.times.fetch_seconds += report.fetch_seconds();
}

}  // namespace retort::driver
