// SQLite with Status and ownership: a database, and statements that are prepared once. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct sqlite3;
struct sqlite3_stmt;

namespace retort::driver {

// A prepared statement. Bind all parameters (from 1), then Step() row by row; Run() is for
// statements without rows.
class Statement {
 public:
  Statement() = default;
  Statement(Statement&&) = default;
  Statement& operator=(Statement&&) = default;

  Statement& Bind(int parameter, int64_t value);
  Statement& Bind(int parameter, absl::string_view text);
  Statement& BindBlob(int parameter, absl::string_view bytes);

  // True: a row is there. False: the end; the statement is reset and can be bound again.
  absl::StatusOr<bool> Step();
  // Executes and resets. Errors name the file: RESOURCE_EXHAUSTED disk full, DATA_LOSS corrupt,
  // INTERNAL else.
  absl::Status Run();

  int64_t Int(int column) const;
  std::string Text(int column) const;  // Also of blobs.

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  absl::Status Error() const;

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  absl::Status bind_error_;
};

class Database {
 public:
  // Makes `path`, empty, with journal_mode=WAL, and opens it. ALREADY_EXISTS if it is there. Until
  // it is whole it has the name `path`.new: who opens `path` meanwhile does not disturb.
  static absl::StatusOr<std::unique_ptr<Database>> Create(const std::string& path);
  // Opens `path` with synchronous=FULL. NOT_FOUND if it does not exist; DATA_LOSS if it is no
  // database.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path);

  absl::StatusOr<Statement> Prepare(absl::string_view sql);
  absl::Status Execute(const std::string& sql);

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  static absl::StatusOr<std::unique_ptr<Database>> Connect(const std::string& path, int flags);

  std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace retort::driver
