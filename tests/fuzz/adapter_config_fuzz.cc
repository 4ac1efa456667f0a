// adapter_config.json: a refusal that names the file, or a config that is read back equal from what
// it writes, and a layout for a model or a refusal that names the targets.
#include <cstdlib>
#include <filesystem>

#include "common/base/check.h"
#include "common/base/file.h"
#include "common/layout/adapter_config.h"
#include "common/layout/adapter_layout.h"
#include "fuzz/fuzz_target.h"
#include "fuzz/memory_file.h"

namespace retort::fuzz {
namespace {

// A folder whose file is a link to memory; it goes with the process.
class AdapterFolder {
 public:
  AdapterFolder() {
    std::string name = std::filesystem::temp_directory_path() / "retort_fuzz_XXXXXX";
    RETORT_CHECK(mkdtemp(name.data()) != nullptr) << name;
    path_ = name;
    std::filesystem::create_symlink(file_.path(), path_ + "/adapter_config.json");
  }
  ~AdapterFolder() { RemoveRecursively(path_).IgnoreError(); }

  const std::string& path() const { return path_; }
  void Write(absl::string_view text) { file_.Write(text); }

 private:
  MemoryFile file_;
  std::string path_;
};

layout::ModelConfig Base() {
  layout::ModelConfig base;
  base.vocab_size = 37;
  base.hidden_size = base.intermediate_size = 32;
  base.num_hidden_layers = 2;
  base.num_attention_heads = base.num_key_value_heads = 4;
  base.head_dim = 8;
  base.max_position_embeddings = 64;
  return base;
}

void CheckRoundTrip(AdapterFolder& folder, const layout::AdapterConfig& config) {
  const layout::ModelConfig base = Base();
  folder.Write(layout::AdapterConfigJson(config, base));
  const auto again = layout::LoadAdapterConfig(folder.path());
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(*again == config);
  const auto layout = layout::AdapterLayoutFor(base, config, /*value_head=*/true);
  if (!layout.ok()) {
    return CheckRefusal(layout.status(),
                        {absl::StatusCode::kInvalidArgument, absl::StatusCode::kUnimplemented},
                        {"target_modules "});
  }
  RETORT_CHECK(layout->parameters.published_elements > 0 && !layout->targets.empty());
}

}  // namespace

std::vector<std::string> Seeds() {
  return {
      R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"],
 "bias": "none", "rank_pattern": {}, "use_rslora": true, "modules_to_save": null})",
      R"({"peft_type": "LORA", "target_modules": "all-linear", "fan_in_fan_out": true})",
  };
}

}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  static fuzz::AdapterFolder folder;
  folder.Write(absl::string_view(reinterpret_cast<const char*>(data), size));
  const auto config = layout::LoadAdapterConfig(folder.path());
  if (!config.ok()) {
    fuzz::CheckRefusal(config.status(),
                       {absl::StatusCode::kInvalidArgument, absl::StatusCode::kUnimplemented},
                       {folder.path() + "/adapter_config.json: "});
    return 0;
  }
  fuzz::NoteAccepted();
  fuzz::CheckRoundTrip(folder, *config);
  return 0;
}
