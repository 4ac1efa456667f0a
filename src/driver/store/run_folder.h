// The folder of one run: its names, its lock.
//   RUN/{job.yaml, journal.db, metrics.jsonl, token, lock, logs/<worker>.log, checkpoints/step-N/,
//   unusable/step-N/, model/, report.html}
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "driver/cluster/worker_id.h"

namespace retort::driver {

// Holds RUN/lock (flock) for its life: two drivers never share a folder. The kernel frees it when
// the process dies.
class RunFolder {
 public:
  // Makes the folder (0700) and its sub-folders; one that is unbegun is emptied first.
  // FAILED_PRECONDITION if it holds a run or anything else.
  static absl::StatusOr<RunFolder> Create(const std::string& path);
  // NOT_FOUND if there is no journal; FAILED_PRECONDITION if another process runs in it, or nothing
  // had begun.
  static absl::StatusOr<RunFolder> Open(const std::string& path);

  const std::string& path() const { return path_; }
  std::string job() const { return path_ + "/job.yaml"; }
  std::string journal() const { return path_ + "/journal.db"; }
  std::string metrics() const { return path_ + "/metrics.jsonl"; }
  std::string token() const { return path_ + "/token"; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }
  std::string model() const { return path_ + "/model"; }
  std::string report() const { return path_ + "/report.html"; }
  std::string logs() const { return path_ + "/logs"; }
  std::string LogOf(const WorkerId& worker) const { return logs() + "/" + NameOf(worker) + ".log"; }

  // Moves a checkpoint that cannot be used out of checkpoints/, where nobody deletes it: it may
  // hold what its owner can still save. Where it lies now; empty if there is none of this name.
  absl::StatusOr<std::string> SetAside(const std::string& checkpoint) const;

  // Everything in it, and the folder itself; a link to it, and what that names, stay.
  absl::Status Remove() const;

 private:
  static absl::StatusOr<RunFolder> MakeFolders(const std::string& path, UniqueFd lock);
  RunFolder(std::string path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  UniqueFd lock_;
};

// Whether `path` holds what a run leaves that ended before its first epoch was journaled, and
// nothing else.
bool IsUnbegun(const std::string& path);

// The last `lines` lines of a file of any size, without a trailing newline; "" if it cannot be
// read.
std::string LastLines(const std::string& path, int lines);

// Removes every entry of `folder` that is not in `keep`.
absl::Status RemoveAllBut(const std::string& folder, const std::vector<std::string>& keep);

}  // namespace retort::driver
