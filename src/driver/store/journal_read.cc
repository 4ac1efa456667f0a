// What a resume reads from the journal.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "driver/store/journal.h"
#include "driver/store/journal_schema.h"

namespace retort::driver {

absl::Status Journal::Damaged(absl::string_view what) const {
  return absl::DataLossError(
      absl::StrCat(path_, ": ", what, "; the run cannot be resumed from this journal"));
}

absl::StatusOr<bool> Journal::HasBegun(const std::string& path) {
  RETORT_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, Database::Open(path));
  RETORT_ASSIGN_OR_RETURN(Statement tables,
                          database->Prepare("SELECT COUNT(*) FROM sqlite_master"));
  RETORT_RETURN_IF_ERROR(tables.Step().status());
  if (tables.Int(0) == 0) return false;
  RETORT_ASSIGN_OR_RETURN(
      Statement rows,
      database->Prepare("SELECT (SELECT COUNT(*) FROM epochs) + (SELECT COUNT(*) FROM commits)"));
  RETORT_RETURN_IF_ERROR(rows.Step().status());
  return rows.Int(0) > 0;
}

absl::StatusOr<JobIdentity> Journal::ReadIdentity() {
  RETORT_ASSIGN_OR_RETURN(Statement job,
                          database_->Prepare("SELECT job_id, spec, inputs FROM job"));
  RETORT_ASSIGN_OR_RETURN(const bool there, job.Step());
  if (!there) return Damaged("table \"job\" has no row");
  JobIdentity identity;
  identity.job_id = job.Text(0);
  RETORT_ASSIGN_OR_RETURN(identity.spec, SpecFromText(job.Text(1)));
  for (const absl::string_view line : absl::StrSplit(job.Text(2), '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> entry =
        absl::StrSplit(line, absl::MaxSplits('\t', 1));
    identity.inputs.insert(entry);
  }
  return identity;
}

absl::Status Journal::ForEachRow(Statement statement,
                                 const std::function<absl::Status(const Statement&)>& visit) {
  while (true) {
    RETORT_ASSIGN_OR_RETURN(const bool row, statement.Step());
    if (!row) return absl::OkStatus();
    RETORT_RETURN_IF_ERROR(visit(statement));
  }
}

absl::Status Journal::ReadCommits(History& history) {
  RETORT_ASSIGN_OR_RETURN(
      Statement commits,
      database_->Prepare(
          "SELECT step, weight_digest, state_digest, bad_step, epoch FROM commits ORDER BY step"));
  return ForEachRow(std::move(commits), [&](const Statement& row) -> absl::Status {
    const int64_t expected = static_cast<int64_t>(history.commits.size()) - 1;
    if (row.Int(0) != expected) {
      return Damaged(absl::StrCat("table \"commits\" has no row of step ", expected));
    }
    if (row.Int(4) >= static_cast<int64_t>(history.epoch)) {
      return Damaged(absl::StrCat("table \"epochs\" has no row of epoch ", row.Int(4)));
    }
    history.commits[expected] = {row.Text(1), row.Text(2), row.Int(3) != 0};
    return absl::OkStatus();
  });
}

absl::Status Journal::ReadBundleDigests(int64_t bundles_per_step, History& history) {
  RETORT_ASSIGN_OR_RETURN(
      Statement bundles,
      database_->Prepare("SELECT step, idx, digest FROM bundles WHERE event='reported' AND "
                         "kind='train' AND step>=? ORDER BY seq"));
  bundles.Bind(1, history.checkpoints.empty() ? 0 : history.checkpoints.front());
  return ForEachRow(std::move(bundles), [&](const Statement& row) -> absl::Status {
    const int64_t index = row.Int(1);
    const absl::StatusOr<Digest> digest = Digest::FromHex(row.Text(2));
    if (index < 0 || index >= bundles_per_step || !digest.ok()) {
      return Damaged(absl::StrCat("table \"bundles\" has a bad row of step ", row.Int(0)));
    }
    std::vector<Digest>& digests = history.bundles[row.Int(0)];
    digests.resize(bundles_per_step);
    if (digests[index] == Digest{}) digests[index] = *digest;
    return absl::OkStatus();
  });
}

absl::StatusOr<History> Journal::ReadHistory(int64_t bundles_per_step) {
  History history;
  RETORT_ASSIGN_OR_RETURN(Statement epoch, database_->Prepare("SELECT MAX(epoch) FROM epochs"));
  RETORT_ASSIGN_OR_RETURN(const bool any, epoch.Step());
  if (!any || epoch.Int(0) < 1) return Damaged("table \"epochs\" has no row");
  history.epoch = static_cast<uint64_t>(epoch.Int(0)) + 1;
  RETORT_RETURN_IF_ERROR(ReadCommits(history));
  RETORT_ASSIGN_OR_RETURN(
      Statement checkpoints,
      database_->Prepare("SELECT step FROM checkpoints WHERE state='kept' ORDER BY seq"));
  RETORT_RETURN_IF_ERROR(ForEachRow(std::move(checkpoints), [&](const Statement& row) {
    history.checkpoints.push_back(row.Int(0));
    return absl::OkStatus();
  }));
  RETORT_RETURN_IF_ERROR(ReadBundleDigests(bundles_per_step, history));
  RETORT_ASSIGN_OR_RETURN(Statement evals, database_->Prepare("SELECT version FROM evals"));
  RETORT_RETURN_IF_ERROR(ForEachRow(std::move(evals), [&](const Statement& row) {
    history.evaluated[row.Int(0)] = true;
    return absl::OkStatus();
  }));
  return history;
}

absl::StatusOr<std::vector<v1::StepRecord>> Journal::ReadStepRecords() {
  std::vector<v1::StepRecord> records;
  RETORT_ASSIGN_OR_RETURN(
      Statement commit,
      database_->Prepare("SELECT step, record FROM commits WHERE step >= 0 ORDER BY step"));
  while (true) {
    RETORT_ASSIGN_OR_RETURN(const bool row, commit.Step());
    if (!row) return records;
    if (!records.emplace_back().ParseFromString(commit.Text(1))) {
      return Damaged(absl::StrCat("table \"commits\" has a bad record of step ", commit.Int(0)));
    }
  }
}

absl::StatusOr<std::vector<v1::EvalRecord>> Journal::ReadEvalRecords() {
  std::vector<v1::EvalRecord> records;
  RETORT_ASSIGN_OR_RETURN(Statement eval,
                          database_->Prepare("SELECT version, record FROM evals ORDER BY version"));
  while (true) {
    RETORT_ASSIGN_OR_RETURN(const bool row, eval.Step());
    if (!row) return records;
    if (!records.emplace_back().ParseFromString(eval.Text(1))) {
      return Damaged(absl::StrCat("table \"evals\" has a bad record of version ", eval.Int(0)));
    }
  }
}

absl::StatusOr<std::vector<OpenWorker>> Journal::ReadOpenWorkers() {
  std::vector<OpenWorker> open;
  RETORT_ASSIGN_OR_RETURN(
      Statement worker,
      database_->Prepare(
          "SELECT worker, incarnation, pid FROM workers AS a WHERE event='joined' AND "
          "NOT EXISTS (SELECT 1 FROM workers AS b WHERE b.incarnation=a.incarnation "
          "AND b.event='lost')"));
  while (true) {
    RETORT_ASSIGN_OR_RETURN(const bool row, worker.Step());
    if (!row) return open;
    open.push_back({worker.Text(0), worker.Text(1), worker.Int(2)});
  }
}

absl::StatusOr<std::map<std::string, int64_t>> Journal::CountJoined() {
  std::map<std::string, int64_t> counts;
  RETORT_ASSIGN_OR_RETURN(
      Statement worker,
      database_->Prepare(
          "SELECT substr(worker, 1, instr(worker || '-', '-') - 1), COUNT(*) FROM workers "
          "WHERE event='joined' GROUP BY 1"));
  while (true) {
    RETORT_ASSIGN_OR_RETURN(const bool row, worker.Step());
    if (!row) return counts;
    counts[worker.Text(0)] = worker.Int(1);
  }
}

absl::StatusOr<int64_t> Journal::CountRows(const std::string& table) {
  RETORT_ASSIGN_OR_RETURN(Statement count,
                          database_->Prepare(absl::StrCat("SELECT COUNT(*) FROM ", table)));
  RETORT_RETURN_IF_ERROR(count.Step().status());
  return count.Int(0);
}

}  // namespace retort::driver
