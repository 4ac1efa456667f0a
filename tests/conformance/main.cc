// retort-conformance [--data DIR] [--device NAME] [--require OP[:FAMILY],...] CASE_DIR...
// Runs cases that were computed by other implementations against the public functions of the
// library.
#include <iostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "common/base/file.h"
#include "common/rpc/build_version.h"
#include "common/tensor/torch_process.h"
#include "conformance/case_device.h"
#include "conformance/runner.h"

int main(int argc, char** argv) {
  using namespace retort::conformance;  // The program's own main file.
  CLI::App app("Runs conformance cases: folders that hold a case.json.");
  RunOptions options;
  std::string require, device = "cpu";
  bool list_ops = false;
  app.add_option("CASE_DIR", options.roots, "Folders that are searched for cases");
  app.add_option(
      "--data", options.data,
      "Folder of models and tokenizers (default: data beside the cases' goldens folder)");
  app.add_option(
      "--device", device,
      "Where models compute: cpu, or a device of the GPU plug-in such as cuda or cuda:1");
  app.add_option("--require", require, "OP[:FAMILY],... that must not be unsupported");
  app.add_flag("--list-ops", list_ops, "Print the supported ops, one a line");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  const OpRegistry registry = AllOps();
  if (list_ops) {
    for (const auto& [name, op] : registry) std::cout << name << "\n";
    return 0;
  }
  const absl::StatusOr<std::vector<Requirement>> required = ParseRequirements(require);
  if (!required.ok() || options.roots.empty()) {
    std::cerr << (required.ok() ? "no CASE_DIR given; see --help" : required.status().message())
              << "\n";
    return 2;
  }
  options.required = *required;
  retort::rpc::IdentifyBuild(retort::rpc::kSourceDigest);
  // Before anything else touches ATen.
  const absl::StatusOr<at::Device> chosen =
      LoadDevice(device, retort::ExecutableDirectory(), retort::rpc::BuildVersion());
  if (!chosen.ok()) {
    std::cerr << "--device=" << device << ": " << chosen.status().message() << "\n";
    return 2;
  }
  options.device = *chosen;
  retort::tensor::ConfigureTorchProcess(1);
  return RunAll(registry, options, std::cout);
}
