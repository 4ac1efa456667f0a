#include "driver/cli/paste_line.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"

namespace retort::driver {

std::string ShellWord(absl::string_view word) {
  constexpr char kPlain[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.,:=+@%-";
  if (!word.empty() && word.find_first_not_of(kPlain) == absl::string_view::npos) {
    return std::string(word);
  }
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

std::string ResumeLine(const std::string& programs, const std::string& run_dir) {
  return absl::StrCat(ShellWord(programs + "/retort"), " run --resume ", ShellWord(run_dir));
}

std::string WorkersLine(const std::string& programs, const RunStart& start) {
  // PROGRAMS is REPO/BUILD/bin.
  const std::filesystem::path repo = std::filesystem::path(programs).parent_path().parent_path();
  const std::string launcher = (repo / "deploy/mpirun.sh").string();
  const std::string flags = absl::StrCat(ShellWord("--driver=" + start.address), " ",
                                         ShellWord("--token-file=" + start.token_file));
  const std::string worker = programs + "/retort-worker";
  if (!FileExists(launcher)) {
    return absl::StrCat("mpirun -n ", start.workers, " ", ShellWord(worker), " ", flags);
  }
  std::string line = absl::StrCat(ShellWord(launcher), " ", start.workers, " ", flags);
  if (std::filesystem::path(programs) != repo / "build/bin") {
    absl::StrAppend(&line, " ", ShellWord("--worker=" + worker));
  }
  return line;
}

}  // namespace retort::driver
