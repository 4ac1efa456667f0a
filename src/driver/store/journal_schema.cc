#include "driver/store/journal_schema.h"

#include <google/protobuf/text_format.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace retort::driver {
namespace {

struct Table {
  const char* name;
  int64_t version;
  const char* columns;
};

constexpr Table kTables[] = {
    {"job", 1,
     "id INTEGER PRIMARY KEY CHECK (id = 1), job_id TEXT NOT NULL, spec TEXT NOT NULL, inputs TEXT "
     "NOT "
     "NULL, created_ms INTEGER NOT NULL"},
    {"epochs", 1,
     "epoch INTEGER PRIMARY KEY, step INTEGER NOT NULL, cause TEXT NOT NULL, unix_ms INTEGER NOT "
     "NULL"},
    {"bundles", 1,
     "seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, kind TEXT NOT NULL, step INTEGER NOT NULL, "
     "idx "
     "INTEGER NOT NULL, attempt INTEGER NOT NULL, event TEXT NOT NULL, worker TEXT NOT NULL, "
     "incarnation "
     "TEXT NOT NULL, digest TEXT NOT NULL, lengths BLOB, cause TEXT NOT NULL, unix_ms INTEGER NOT "
     "NULL"},
    {"commits", 1,
     "step INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, weight_digest TEXT NOT NULL, state_digest "
     "TEXT NOT "
     "NULL, bad_step INTEGER NOT NULL, received_bytes INTEGER NOT NULL, record BLOB, unix_ms "
     "INTEGER NOT "
     "NULL"},
    {"checkpoints", 1,
     "seq INTEGER PRIMARY KEY, step INTEGER NOT NULL, name TEXT NOT NULL, manifest_digest TEXT NOT "
     "NULL, "
     "state TEXT NOT NULL, message TEXT NOT NULL, unix_ms INTEGER NOT NULL"},
    {"workers", 1,
     "seq INTEGER PRIMARY KEY, worker TEXT NOT NULL, incarnation TEXT NOT NULL, event TEXT NOT "
     "NULL, pid "
     "INTEGER NOT NULL, cause TEXT NOT NULL, unix_ms INTEGER NOT NULL"},
    {"evals", 1, "version INTEGER PRIMARY KEY, record BLOB, unix_ms INTEGER NOT NULL"},
};

absl::StatusOr<bool> HasTable(Database& database, const std::string& name) {
  RETORT_ASSIGN_OR_RETURN(
      Statement find,
      database.Prepare("SELECT 1 FROM sqlite_master WHERE type='table' AND name=?"));
  return find.Bind(1, name).Step();
}

absl::Status Missing(const std::string& path, absl::string_view table, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": table \"", table, "\" ", what,
                                          "; the run cannot be resumed from this journal"));
}

}  // namespace

const std::vector<std::string>& JournalTables() {
  static const auto* names = [] {
    auto* list = new std::vector<std::string>;
    for (const Table& table : kTables) list->push_back(table.name);
    return list;
  }();
  return *names;
}

absl::Status CreateTables(Database& database) {
  RETORT_RETURN_IF_ERROR(database.Execute(
      "CREATE TABLE schema_versions (name TEXT PRIMARY KEY, version INTEGER NOT NULL)"));
  for (const Table& table : kTables) {
    RETORT_RETURN_IF_ERROR(
        database.Execute(absl::StrCat("CREATE TABLE ", table.name, " (", table.columns, ")")));
    RETORT_RETURN_IF_ERROR(database.Execute(absl::StrCat("INSERT INTO schema_versions VALUES ('",
                                                         table.name, "', ", table.version, ")")));
  }
  return database.Execute("CREATE INDEX bundles_by_step ON bundles (step, idx)");
}

absl::Status CheckTables(Database& database, const std::string& path) {
  RETORT_ASSIGN_OR_RETURN(const bool versions, HasTable(database, "schema_versions"));
  if (!versions) return Missing(path, "schema_versions", "is missing");
  for (const Table& table : kTables) {
    RETORT_ASSIGN_OR_RETURN(const bool there, HasTable(database, table.name));
    if (!there) return Missing(path, table.name, "is missing");
    RETORT_ASSIGN_OR_RETURN(Statement version,
                            database.Prepare("SELECT version FROM schema_versions WHERE name=?"));
    RETORT_ASSIGN_OR_RETURN(const bool known,
                            version.Bind(1, absl::string_view(table.name)).Step());
    if (!known) return Missing(path, table.name, "has no schema version");
    if (version.Int(0) != table.version) {
      return Missing(path, table.name,
                     absl::StrCat("has schema version ", version.Int(0), ", this program reads ",
                                  table.version));
    }
  }
  return absl::OkStatus();
}

std::string SpecToText(const v1::JobSpec& spec) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(spec, &text);
  return text;
}

absl::StatusOr<v1::JobSpec> SpecFromText(const std::string& text) {
  v1::JobSpec spec;
  if (!google::protobuf::TextFormat::ParseFromString(text, &spec)) {
    return absl::DataLossError("the journaled job does not parse");
  }
  return spec;
}

}  // namespace retort::driver
