// config.json and generation_config.json: a refusal that names the file, or a config that is read
// back equal from what it writes, and whose layout fits the bound on parameters.
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/layout/model_config.h"
#include "common/layout/parameter_layout.h"
#include "fuzz/fuzz_target.h"
#include "fuzz/memory_file.h"
#include "testing/family_configs.h"

namespace retort::fuzz {
namespace {

constexpr int64_t kMostParameters = int64_t{1} << 43;
constexpr int64_t kFewLayers = 64;  // More of them only make the layout's list longer.

// A folder whose two files are links to memory; it goes with the process.
class ModelFolder {
 public:
  ModelFolder() {
    std::string name = std::filesystem::temp_directory_path() / "retort_fuzz_XXXXXX";
    RETORT_CHECK(mkdtemp(name.data()) != nullptr) << name;
    path_ = name;
    std::filesystem::create_symlink(config_.path(), path_ + "/config.json");
    std::filesystem::create_symlink(generation_.path(), path_ + "/generation_config.json");
  }
  ~ModelFolder() { RemoveRecursively(path_).IgnoreError(); }

  const std::string& path() const { return path_; }
  void Write(absl::string_view config, absl::string_view generation) {
    config_.Write(config);
    generation_.Write(generation);
  }

 private:
  MemoryFile config_, generation_;
  std::string path_;
};

void CheckRoundTrip(ModelFolder& folder, const layout::ModelConfig& config) {
  folder.Write(layout::ModelConfigJson(config), layout::GenerationConfigJson(config));
  const auto again = layout::LoadModelConfig(folder.path());
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(*again == config);
  if (config.num_hidden_layers > kFewLayers) return;
  const layout::ParameterLayout layout = layout::LayoutFor(config, /*value_head=*/true);
  RETORT_CHECK(layout.published_elements > 0);
  RETORT_CHECK(layout.total_elements > layout.published_elements);
  RETORT_CHECK(layout.total_elements <= kMostParameters) << layout.total_elements;
}

}  // namespace

std::vector<std::string> Seeds() {
  constexpr absl::string_view kSizes =
      R"("model_type": "llama", "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64,
 "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
 "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": [2, 3])";
  constexpr absl::string_view kLlama3 =
      R"("rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
 "original_max_position_embeddings": 32)";
  std::vector<std::string> seeds = {
      absl::StrCat("{", kSizes, ", \"rope_theta\": 500.0, \"rope_scaling\": {", kLlama3, "}}",
                   kSeparator, "{\"eos_token_id\": 2, \"pad_token_id\": -1}"),
      absl::StrCat("{", kSizes, ", \"rope_parameters\": {\"rope_theta\": 500.0, ", kLlama3, "}}",
                   kSeparator, "{}"),
      absl::StrCat("{", kSizes, R"(, "head_dim": 16, "attention_bias": true, "mlp_bias": true,
 "tie_word_embeddings": true, "rope_scaling": {"type": "linear", "factor": 2}})",
                   kSeparator, "{\"eos_token_id\": null}"),
  };
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) seeds.push_back(family.json);
  return seeds;
}

}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  static fuzz::ModelFolder folder;
  const std::vector<absl::string_view> documents = fuzz::Documents(data, size);
  folder.Write(documents[0], documents.size() > 1 ? documents[1] : "{}");
  const auto config = layout::LoadModelConfig(folder.path());
  if (!config.ok()) {
    fuzz::CheckRefusal(
        config.status(), {absl::StatusCode::kInvalidArgument, absl::StatusCode::kUnimplemented},
        {folder.path() + "/config.json: ", folder.path() + "/generation_config.json: "});
    return 0;
  }
  fuzz::NoteAccepted();
  fuzz::CheckRoundTrip(folder, *config);
  return 0;
}
