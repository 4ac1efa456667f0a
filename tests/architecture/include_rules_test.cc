// The room borders of docs/architecture.md as a test: who may include whom, and which headers stay
// in one place.
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

struct Include {
  std::string file;  // Relative to the source folder, such as "src/common/rpc/server.cc".
  int line;
  std::string target;  // Between the quotes or angle brackets.
};

fs::path SourceDir() { return fs::path(std::getenv("RETORT_SOURCE_DIR")); }

std::vector<Include> AllIncludes() {
  std::vector<Include> includes;
  for (const auto& entry : fs::recursive_directory_iterator(SourceDir() / "src")) {
    const std::string extension = entry.path().extension().string();
    if (extension != ".h" && extension != ".cc" && extension != ".cu") continue;
    std::ifstream in(entry.path());
    std::string text;
    for (int line = 1; std::getline(in, text); ++line) {
      if (!absl::StartsWith(text, "#include ")) continue;
      const size_t begin = text.find_first_of("\"<");
      const size_t end = text.find_last_of("\">");
      if (begin == std::string::npos || end <= begin) continue;
      includes.push_back({fs::relative(entry.path(), SourceDir()).string(), line,
                          text.substr(begin + 1, end - begin - 1)});
    }
  }
  return includes;
}

// "src/common/rpc/server.cc" and "common/rpc/server.h" -> "rpc"; "worker/agent/x.h" ->
// "worker/agent".
std::string RoomOf(absl::string_view path) {
  if (absl::StartsWith(path, "src/")) path.remove_prefix(4);
  const std::vector<std::string> parts = absl::StrSplit(path, '/');
  if (parts.size() < 3)
    return parts[0] == "worker" || parts[0] == "driver" ? parts[0] + "/main" : "";
  return parts[0] == "common" ? parts[1] : absl::StrCat(parts[0], "/", parts[1]);
}

// Every room with the rooms whose headers it may include, besides itself and base.
const std::map<std::string, std::set<std::string>>& Allowed() {
  static const std::set<std::string> plain = {"rpc",  "artifact", "metrics",
                                              "text", "layout",   "gpu"};
  static const std::set<std::string> control = {"rpc",    "artifact", "metrics", "text",
                                                "layout", "data",     "job",     "gpu"};
  static const auto* allowed = [] {
    auto with = [](std::set<std::string> base, std::set<std::string> more) {
      base.merge(more);
      return base;
    };
    const std::set<std::string> tensor = with(plain, {"data", "job", "tensor"});
    const std::set<std::string> model = with(tensor, {"collective", "ring", "model"});
    const std::set<std::string> trained = with(model, {"objective", "distill", "checkpoint"});
    const std::set<std::string> shared_worker = {"worker/agent", "worker/weight_sync",
                                                 "worker/reward"};
    return new std::map<std::string, std::set<std::string>>{
        {"base", {}},
        {"gpu", {}},
        {"cuda", {"gpu"}},
        {"rpc", {}},
        {"artifact", {}},
        {"metrics", {}},
        {"text", {}},
        {"layout", {}},
        {"data", plain},
        {"job", with(plain, {"data"})},
        {"tensor", with(plain, {"data", "job"})},
        {"collective", tensor},
        {"ring", tensor},
        {"model", with(tensor, {"collective", "ring"})},
        {"objective", model},
        {"distill", model},
        {"checkpoint", with(model, {"objective", "distill"})},
        {"worker/agent", trained},
        {"worker/reward", trained},
        {"worker/weight_sync", trained},
        {"worker/tools", trained},
        {"worker/serve", with(trained, {"worker/tools"})},
        {"worker/rollout", with(trained, shared_worker)},
        {"worker/scorer", with(trained, shared_worker)},
        {"worker/learner", with(trained, shared_worker)},
        {"worker/main",
         with(with(trained, shared_worker), {"worker/rollout", "worker/scorer", "worker/learner",
                                             "worker/tools", "worker/serve"})},
        {"driver/cluster", control},
        {"driver/schedule", with(control, {"driver/cluster"})},
        {"driver/store", with(control, {"driver/cluster", "driver/schedule"})},
        {"driver/service", with(control, {"driver/cluster", "driver/schedule", "driver/store"})},
        {"driver/cli",
         with(control, {"driver/cluster", "driver/schedule", "driver/store", "driver/service"})},
    };
  }();
  return *allowed;
}

// Rooms that `retort` links: no Torch, MPI or CUDA may reach them. The ring is plain shared memory.
bool IsTorchFree(const std::string& room) {
  static const std::set<std::string> rooms = {"base",   "rpc",  "artifact", "metrics", "text",
                                              "layout", "data", "job",      "ring",    "gpu"};
  return rooms.contains(room) || absl::StartsWith(room, "driver/") || room == "worker/agent" ||
         room == "worker/reward";
}

TEST(IncludeRulesTest, ProjectIncludes_GoDownward) {
  int checked = 0;
  for (const Include& include : AllIncludes()) {
    const bool ours = absl::StartsWith(include.target, "common/") ||
                      absl::StartsWith(include.target, "worker/") ||
                      absl::StartsWith(include.target, "driver/");
    if (!ours) continue;
    const std::string from = RoomOf(include.file);
    const std::string to = RoomOf(include.target);
    ASSERT_TRUE(Allowed().contains(from))
        << include.file << ": room \"" << from << "\" is not listed";
    ++checked;
    if (to == from || to == "base") continue;
    EXPECT_TRUE(Allowed().at(from).contains(to))
        << include.file << ":" << include.line << ": " << from << " must not include " << to << " ("
        << include.target << ")";
  }
  EXPECT_GT(checked, 20);
}

TEST(IncludeRulesTest, TorchFreeRooms_IncludeNoTorch) {
  for (const Include& include : AllIncludes()) {
    if (!IsTorchFree(RoomOf(include.file))) continue;
    EXPECT_FALSE(absl::StartsWith(include.target, "ATen/") ||
                 absl::StartsWith(include.target, "torch/") ||
                 absl::StartsWith(include.target, "c10/"))
        << include.file << ":" << include.line << ": " << include.target;
  }
}

TEST(IncludeRulesTest, RestrictedHeaders_StayWhereTheyBelong) {
  for (const Include& include : AllIncludes()) {
    const std::string where = absl::StrCat(include.file, ":", include.line);
    EXPECT_NE(include.target, "torch/torch.h") << where << ": half a minute of compile time a file";
    if (include.target == "mpi.h") {
      EXPECT_TRUE(absl::StartsWith(include.file, "src/common/collective/mpi_")) << where;
    }
    if (absl::StartsWith(include.target, "cuda") || absl::StartsWith(include.target, "nccl")) {
      EXPECT_TRUE(absl::StartsWith(include.file, "src/common/cuda/")) << where;
    }
    EXPECT_FALSE(absl::StartsWith(include.target, "absl/synchronization/"))
        << where << ": use common/base/mutex.h";
  }
}

}  // namespace
}  // namespace retort
