// The table of rooms in docs/architecture.md against the folders: every room has a row, every file
// that a row names is there.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

fs::path SourceDir() { return fs::path(std::getenv("RETORT_SOURCE_DIR")); }

// What stands between backquotes: "`rng.h`, `file.h`" -> rng.h, file.h.
std::vector<std::string> Quoted(const std::string& cell) {
  const std::vector<std::string> parts = absl::StrSplit(cell, '`');
  std::vector<std::string> quoted;
  for (size_t i = 1; i < parts.size(); i += 2) quoted.push_back(parts[i]);
  return quoted;
}

// The folder of each room, relative to the source folder, with the files to start reading at.
std::map<std::string, std::vector<std::string>> RoomTable() {
  std::ifstream in(SourceDir() / "docs/architecture.md");
  std::map<std::string, std::vector<std::string>> rooms;
  std::string line;
  while (std::getline(in, line) && !absl::StartsWith(line, "| room |")) {
  }
  while (std::getline(in, line) && absl::StartsWith(line, "|")) {
    const std::vector<std::string> cells = absl::StrSplit(line, '|');
    if (cells.size() != 5 || absl::StartsWith(line, "|--")) continue;
    const std::vector<std::string> room = Quoted(cells[1]);
    if (room.size() != 1) {
      ADD_FAILURE() << "expected one room in a row: " << line;
      continue;
    }
    const bool proto = absl::StartsWith(room[0], "proto/");
    rooms[proto ? room[0] : "src/" + room[0]] = Quoted(cells[3]);
  }
  return rooms;
}

TEST(RoomTableTest, FilesToStartReadingAt_AreThere) {
  const auto rooms = RoomTable();
  EXPECT_GT(rooms.size(), 20u);
  for (const auto& [room, files] : rooms) {
    EXPECT_FALSE(files.empty()) << room << " names no file to start reading at";
    for (const std::string& file : files) {
      EXPECT_TRUE(fs::is_regular_file(SourceDir() / room / file)) << room << "/" << file;
    }
  }
}

TEST(RoomTableTest, EveryRoom_HasARow) {
  const auto rooms = RoomTable();
  for (const char* side : {"common", "worker", "driver"}) {
    for (const auto& entry : fs::directory_iterator(SourceDir() / "src" / side)) {
      if (!entry.is_directory()) continue;
      const std::string room = fs::relative(entry.path(), SourceDir()).string();
      EXPECT_TRUE(rooms.contains(room)) << room << " has no row in docs/architecture.md";
    }
  }
}

}  // namespace
}  // namespace retort
