#include "driver/store/sqlite.h"

#include <sqlite3.h>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace retort::driver {
namespace {

absl::Status ErrorOf(sqlite3* database) {
  const char* path = sqlite3_db_filename(database, "main");
  const std::string message =
      absl::StrCat(path == nullptr ? "journal" : path, ": ", sqlite3_errmsg(database));
  switch (sqlite3_errcode(database)) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

absl::Status Statement::Error() const { return ErrorOf(sqlite3_db_handle(statement_.get())); }

Statement& Statement::Bind(int parameter, int64_t value) {
  if (sqlite3_bind_int64(statement_.get(), parameter, value) != SQLITE_OK) bind_error_ = Error();
  return *this;
}

Statement& Statement::Bind(int parameter, absl::string_view text) {
  if (sqlite3_bind_text64(statement_.get(), parameter, text.data(), text.size(), SQLITE_TRANSIENT,
                          SQLITE_UTF8) != SQLITE_OK) {
    bind_error_ = Error();
  }
  return *this;
}

Statement& Statement::BindBlob(int parameter, absl::string_view bytes) {
  if (sqlite3_bind_blob64(statement_.get(), parameter, bytes.data(), bytes.size(),
                          SQLITE_TRANSIENT) != SQLITE_OK) {
    bind_error_ = Error();
  }
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  if (!bind_error_.ok()) return bind_error_;
  const int result = sqlite3_step(statement_.get());
  if (result == SQLITE_ROW) return true;
  absl::Status status = result == SQLITE_DONE ? absl::OkStatus() : Error();
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
  if (!status.ok()) return status;
  return false;
}

absl::Status Statement::Run() { return Step().status(); }

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::string Statement::Text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return bytes == nullptr ? "" : std::string(static_cast<const char*>(bytes), size);
}

void Database::Close::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

absl::StatusOr<std::unique_ptr<Database>> Database::Connect(const std::string& path, int flags) {
  auto database = std::make_unique<Database>();
  sqlite3* raw = nullptr;
  const int result = sqlite3_open_v2(path.c_str(), &raw,
                                     flags | SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  database->database_.reset(raw);
  if (result != SQLITE_OK) {
    return absl::InternalError(absl::StrCat(path, ": ", sqlite3_errstr(result)));
  }
  sqlite3_busy_timeout(raw, 2000);
  return database;
}

absl::StatusOr<std::unique_ptr<Database>> Database::Create(const std::string& path) {
  if (FileExists(path)) return absl::AlreadyExistsError(absl::StrCat(path, " is there already"));
  // A file cannot become a WAL one while another connection looks at it.
  const std::string fresh = path + ".new";
  for (const char* suffix : {"", "-journal", "-wal", "-shm"}) {
    RETORT_RETURN_IF_ERROR(RemoveRecursively(fresh + suffix));
  }
  {
    RETORT_ASSIGN_OR_RETURN(const auto database, Connect(fresh, SQLITE_OPEN_CREATE));
    RETORT_RETURN_IF_ERROR(database->Execute("PRAGMA journal_mode=WAL"));
  }
  RETORT_RETURN_IF_ERROR(RenameDurably(fresh, path));
  return Open(path);
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path) {
  if (!FileExists(path)) {
    return absl::NotFoundError(
        absl::StrCat(path, " does not exist; it is no run folder of Retort"));
  }
  RETORT_ASSIGN_OR_RETURN(auto database, Connect(path, 0));
  RETORT_RETURN_IF_ERROR(database->Execute("PRAGMA synchronous=FULL"));
  return database;
}

absl::StatusOr<Statement> Database::Prepare(absl::string_view sql) {
  Statement statement;
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(database_.get(), sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK) {
    return ErrorOf(database_.get());
  }
  statement.statement_.reset(raw);
  return statement;
}

absl::Status Database::Execute(const std::string& sql) {
  if (sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return ErrorOf(database_.get());
  }
  return absl::OkStatus();
}

}  // namespace retort::driver
