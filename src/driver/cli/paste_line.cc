#include "driver/cli/paste_line.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/rpc/endpoint.h"

namespace retort::driver {
namespace {

void AppendTls(const rpc::TlsFiles& tls, std::string* line) {
  const std::pair<const char*, const std::string&> files[] = {{"--tls-cert=", tls.certificate_file},
                                                              {"--tls-key=", tls.key_file},
                                                              {"--tls-ca=", tls.ca_file}};
  for (const auto& [flag, file] : files) {
    if (file.empty()) continue;
    const std::string path = std::filesystem::absolute(file).lexically_normal().string();
    absl::StrAppend(line, " ", ShellWord(flag + path));
  }
}

}  // namespace

std::string ShellWord(absl::string_view word) {
  constexpr char kPlain[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.,:=+@%-";
  if (!word.empty() && word.find_first_not_of(kPlain) == absl::string_view::npos) {
    return std::string(word);
  }
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

std::string ResumeLine(const std::string& programs, const RunSummary& summary) {
  std::string line =
      absl::StrCat(ShellWord(programs + "/retort"), " run --resume ", ShellWord(summary.run_dir));
  if (!summary.external) return line;
  absl::StrAppend(&line, " --workers=external ", ShellWord("--listen=" + summary.listen));
  AppendTls(summary.tls, &line);
  return line;
}

std::string WorkersLine(const std::string& programs, const RunStart& start) {
  // PROGRAMS is REPO/BUILD/bin.
  const std::filesystem::path repo = std::filesystem::path(programs).parent_path().parent_path();
  const std::string launcher = (repo / "deploy/mpirun.sh").string();
  std::string flags = absl::StrCat(ShellWord("--driver=" + start.address), " ",
                                   ShellWord("--token-file=" + start.token_file));
  AppendTls(start.tls, &flags);
  const absl::StatusOr<rpc::Endpoint> driver = rpc::ParseEndpoint(start.address);
  if (driver.ok() && !driver->IsLoopback()) {
    const rpc::Endpoint artifacts{driver->host, /*port=*/0};
    absl::StrAppend(&flags, " ", ShellWord("--artifact-listen=" + artifacts.ToString()));
  }
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
