// The journal's tables, and the job's spec as text inside it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "driver/store/sqlite.h"
#include "retort/v1/job.pb.h"

namespace retort::driver {

// All tables but schema_versions.
const std::vector<std::string>& JournalTables();

absl::Status CreateTables(Database& database);

// DATA_LOSS naming the first table that is missing or has another version than this program's.
absl::Status CheckTables(Database& database, const std::string& path);

std::string SpecToText(const v1::JobSpec& spec);
absl::StatusOr<v1::JobSpec> SpecFromText(const std::string& text);

}  // namespace retort::driver
