#include "common/gpu/plugin.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"

namespace retort::gpu {
namespace {

constexpr char kPathVariable[] = "RETORT_GPU_PLUGIN";

absl::StatusOr<std::string> PathOfVariable(const char* path) {
  if (path[0] != '/') {
    return absl::InvalidArgumentError(
        absl::StrCat(kPathVariable, " is \"", path, "\"; expected an absolute path"));
  }
  std::error_code error;
  const bool file = std::filesystem::is_regular_file(path, error);
  if (file && access(path, R_OK) == 0) return std::string(path);
  return absl::NotFoundError(
      absl::StrCat(kPathVariable, " names ", path, ", which is no file that can be read"));
}

absl::StatusOr<Plugin> Load(const std::string& path, const std::string& build) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    const std::string why = dlerror();
    const bool missing = absl::StrContains(why, "cannot open shared object file");
    return absl::FailedPreconditionError(absl::StrCat(
        "the GPU plug-in ", path, " cannot be loaded: ", why,
        missing ? "; LD_LIBRARY_PATH must name the lib folders of a torch with CUDA and of the "
                  "nvidia packages beside it (docs/gpu.md)"
                : ""));
  }
  const auto entry = reinterpret_cast<PluginEntry>(dlsym(library, kPluginEntry));
  if (entry == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is no GPU plug-in: it has no symbol ", kPluginEntry));
  }
  Plugin plugin;
  if (const char* const why = entry(build.c_str(), &plugin); why != nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("the GPU plug-in ", path, " ", why));
  }
  return plugin;
}

}  // namespace

absl::StatusOr<std::string> FindPlugin(absl::string_view executable_directory) {
  if (const char* const path = std::getenv(kPathVariable); path != nullptr) {
    return PathOfVariable(path);
  }
  const std::string beside = absl::StrCat(executable_directory, "/", kPluginFile);
  if (access(beside.c_str(), R_OK) == 0) return beside;
  const std::string in_lib = absl::StrCat(executable_directory, "/../lib/", kPluginFile);
  if (access(in_lib.c_str(), R_OK) == 0) return in_lib;
  return absl::NotFoundError(absl::StrCat("there is no GPU plug-in: neither ", beside, " nor ",
                                          in_lib, " is there, and ", kPathVariable, " is not set"));
}

absl::StatusOr<Plugin> LoadPlugin(absl::string_view executable_directory, absl::string_view build) {
  static auto* const mutex = new Mutex;
  static std::optional<absl::StatusOr<Plugin>>* const loaded =
      new std::optional<absl::StatusOr<Plugin>>;
  MutexLock lock(mutex);
  if (!loaded->has_value()) {
    const absl::StatusOr<std::string> path = FindPlugin(executable_directory);
    *loaded = path.ok() ? Load(*path, std::string(build)) : path.status();
  }
  return **loaded;
}

}  // namespace retort::gpu
