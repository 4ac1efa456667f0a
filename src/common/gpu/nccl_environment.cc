#include "common/gpu/nccl_environment.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace retort::gpu {
namespace {

struct Setting {
  const char* name;
  const char* value;
};

// NCCL_ALGO is a list "FUNCTION:ALGORITHM,...;..." since NCCL 2.24: other functions, which only
// move bytes, keep theirs. NVLS adds in the switch, whose order differs from call to call.
constexpr Setting kSettings[] = {
    {"NCCL_ALGO", "allreduce:ring"}, {"NCCL_PROTO", "Simple"}, {"NCCL_NVLS_ENABLE", "0"}};

}  // namespace

void SetNcclEnvironment() {
  for (const Setting& setting : kSettings) {
    if (std::getenv(setting.name) == nullptr) setenv(setting.name, setting.value, 0);
  }
}

std::string NcclEnvironmentText() {
  std::string text;
  for (const Setting& setting : kSettings) {
    const char* const value = std::getenv(setting.name);
    absl::StrAppend(&text, text.empty() ? "" : " ", setting.name, "=",
                    value == nullptr ? "" : value);
  }
  return text;
}

}  // namespace retort::gpu
