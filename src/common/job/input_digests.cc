#include "common/job/input_digests.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/job/policy_adapter.h"

namespace retort::job {
namespace {

enum class Part { kFile, kConfig, kWeights };

struct Input {
  std::string key;
  std::string path;  // A file, or the folder of which `part` is meant.
  Part part;
};

void AddFolder(const std::string& key, const std::string& path, std::vector<Input>* inputs) {
  inputs->push_back({key + ".config", path, Part::kConfig});
  inputs->push_back({key + ".weights", path, Part::kWeights});
}

std::vector<Input> InputsOf(const v1::JobSpec& spec) {
  std::vector<Input> inputs;
  if (!spec.data().train().empty()) {
    inputs.push_back({"data.train", spec.data().train(), Part::kFile});
  }
  if (!spec.data().validation().empty()) {
    inputs.push_back({"data.validation", spec.data().validation(), Part::kFile});
  }
  const v1::PolicySpec& policy = spec.policy();
  AddFolder("policy", policy.has_path() ? policy.path() : policy.init().config(), &inputs);
  if (policy.lora().has_path()) AddFolder("policy.lora", policy.lora().path(), &inputs);
  if (spec.reference().has_path()) AddFolder("reference", spec.reference().path(), &inputs);
  return inputs;
}

// Rollout workers get the policy's weights from the learner, and read only those that an adapter is
// added to. Who trains on or scores what was generated reads no rows.
bool Reads(v1::Role role, const v1::JobSpec& spec, const Input& input) {
  if (input.key == "policy.config") return true;
  if (absl::StartsWith(input.key, "policy.lora.")) return true;
  const bool sft = spec.algorithm().type() == v1::ALGORITHM_TYPE_SFT;
  switch (role) {
    case v1::ROLE_ROLLOUT:
      return (input.key == "data.train" && !sft) ||
             (input.key == "data.validation" && spec.eval().every() > 0) ||
             (input.key == "policy.weights" && UsesAdapter(spec.policy()));
    case v1::ROLE_SCORER:
      return absl::StartsWith(input.key, spec.reference().has_path() ? "reference." : "policy.");
    case v1::ROLE_LEARNER:
      return input.key == "policy.weights" || (input.key == "data.train" && sft);
    default:
      return false;
  }
}

bool Belongs(absl::string_view name, Part part) {
  if (part == Part::kWeights) return absl::EndsWith(name, ".safetensors");
  return absl::EndsWith(name, ".json") || absl::EndsWith(name, ".jinja") || name == "merges.txt";
}

absl::Status HashFile(const std::string& path, Hasher& hasher) {
  constexpr int64_t kChunk = 4 << 20;
  RETORT_ASSIGN_OR_RETURN(const int64_t size, FileSize(path));
  RETORT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenRegularFile(path));
  std::string chunk(std::min(size, kChunk), '\0');
  for (int64_t offset = 0; offset < size; offset += kChunk) {
    const int64_t bytes = std::min(kChunk, size - offset);
    RETORT_RETURN_IF_ERROR(ReadAt(fd.get(), path, offset, bytes, chunk.data()));
    hasher.Update(chunk.data(), bytes);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> DigestOfInput(const Input& input) {
  Hasher hasher;
  if (input.part == Part::kFile) {
    RETORT_RETURN_IF_ERROR(HashFile(input.path, hasher));
    return hasher.Finish().ToHex();
  }
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(input.path));
  for (const std::string& name : names) {
    if (!Belongs(name, input.part)) continue;
    hasher.Update(absl::StrCat(name, "\n"));
    RETORT_RETURN_IF_ERROR(HashFile(absl::StrCat(input.path, "/", name), hasher));
  }
  return hasher.Finish().ToHex();
}

}  // namespace

absl::StatusOr<InputDigests> DigestInputs(const v1::JobSpec& spec) {
  InputDigests digests;
  for (const Input& input : InputsOf(spec)) {
    RETORT_ASSIGN_OR_RETURN(digests[input.key], DigestOfInput(input));
  }
  return digests;
}

absl::Status CheckInputs(const v1::JobSpec& spec, v1::Role role, const InputDigests& of_driver) {
  for (const Input& input : InputsOf(spec)) {
    if (!Reads(role, spec, input)) continue;
    RETORT_ASSIGN_OR_RETURN(const std::string digest, DigestOfInput(input));
    const auto expected = of_driver.find(input.key);
    if (expected != of_driver.end() && expected->second == digest) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        input.key, " (", input.path, ") is ", digest, " here and ",
        expected == of_driver.end() ? "absent" : expected->second,
        " where the run was started; put the same files at this path on every host, and leave "
        "them while the run lasts"));
  }
  return absl::OkStatus();
}

}  // namespace retort::job
