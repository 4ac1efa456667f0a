// Job files: YAML <-> JobSpec. The schema, its defaults, bounds and documentation are
// proto/retort/v1/job.proto; one walker over its descriptors parses, fills, checks, prints and
// documents, so no key is named here.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "retort/v1/job.pb.h"

namespace retort::job {

// Writes into the spec what only the beginning of a run knows, so that a resume does the same:
// data.template_time (local time, as Transformers has it), unless the job gives it.
void RecordBegin(absl::Time now, v1::JobSpec* spec);

// How an error begins: "job.yaml:12:5: data.train"; "--set data.train" says both already.
std::string PlaceAndKey(absl::string_view where, absl::string_view key);

// Where the value of each given key stands: "job.yaml:12:5" or "--set a.b.c".
class FieldPositions {
 public:
  void Set(const std::string& field, const std::string& where) { where_[field] = where; }

  // Of `field` ("data.train", "rewards.0.weight"), else of the nearest section around it that was
  // given, else "". A key that was left out is thus reported where it would have stood.
  std::string Where(absl::string_view field) const;
  bool Has(const std::string& field) const { return where_.count(field) != 0; }
  const std::map<std::string, std::string>& all() const { return where_; }

  // INVALID_ARGUMENT "<where>: <field> <what>", e.g. what = "is -1; expected an integer >= 0".
  absl::Status Error(absl::string_view field, absl::string_view what) const;
  // `status` of something that `field` names: its code, "<where>: <field>: <message>". OK stays OK.
  absl::Status Wrap(absl::string_view field, const absl::Status& status) const;

 private:
  std::map<std::string, std::string> where_;
};

struct LoadedJob {
  v1::JobSpec spec;  // Defaults filled in, paths absolute, sections that the method ignores absent.
  FieldPositions positions;
};

// Reads and checks a job file. An override "a.b.c=value" replaces or adds one value (YAML text;
// list entries by number: "rewards.0.weight=2") before anything is checked, so it meets the same
// checks; its errors say "--set a.b.c". Paths, also those of overrides, are relative to the file's
// folder. Bounds: 1 MiB, nesting 64, 4096 bytes a string, 1024 list entries. Errors:
// INVALID_ARGUMENT "file:line:column: key what; expected …" for the first problem: syntax, unknown
// or duplicate key, anchor, alias, tag, type, bound, missing key, section that the method would
// ignore, values that contradict each other. NOT_FOUND, OUT_OF_RANGE from reading the file.
absl::StatusOr<v1::JobSpec> LoadJob(const std::string& path,
                                    absl::Span<const std::string> overrides = {});
absl::StatusOr<LoadedJob> LoadJobWithPositions(const std::string& path,
                                               absl::Span<const std::string> overrides = {});

// The same for text in memory. `source` names it in errors; `base_dir` is what paths are relative
// to.
absl::StatusOr<LoadedJob> ParseJob(absl::string_view text, const std::string& source,
                                   const std::string& base_dir,
                                   absl::Span<const std::string> overrides = {});

// Every key that the job reads, as YAML that LoadJob turns into an equal spec. Deterministic.
std::string JobToYaml(const v1::JobSpec& spec);

// The reference page (docs/job-file.md): every key with type, default, bounds, unit and meaning.
std::string JobReferencePage();

}  // namespace retort::job
