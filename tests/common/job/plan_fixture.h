// Plans of jobs whose models and data lie in a scratch folder.
#pragma once

#include <unistd.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/job/job_text.h"
#include "common/job/plan.h"
#include "common/layout/parameter_layout.h"
#include "common/layout/safetensors_header.h"
#include "common/text/tokenizer_fixture.h"
#include "gtest/gtest.h"

namespace retort::job {

inline constexpr char kPlanConfig[] =
    R"({"model_type": "llama", "vocab_size": 301, "hidden_size": 16,
  "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 64,
  "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false, "bos_token_id": 299,
  "eos_token_id": 300})";

// A folder with a model, data and the jobs of job_text.h.
class PlanTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = ResolvePath(testing::TempDir(), absl::StrCat("plan_test.", getpid()));
    ASSERT_TRUE(RemoveRecursively(folder_).ok());
    for (const char* model : {"models/start", "models/tiny", "models/ref"}) {
      ASSERT_TRUE(MakeDirectories(absl::StrCat(folder_, "/", model)).ok());
      Write(absl::StrCat(model, "/config.json"), kPlanConfig);
      Write(absl::StrCat(model, "/tokenizer.json"), DumpJson(text::ByteLevelFile()));
    }
    WriteWeights("start");
    WriteWeights("ref");
    std::string rows;
    for (int i = 0; i < 20; ++i) {
      absl::StrAppend(&rows, "{\"prompt\": \"", std::string(1 + i % 5, 'x'),
                      "=\", \"answer\": \"yz\"}\n");
    }
    Write("train.jsonl", rows);
    Write("validation.jsonl", rows);
  }
  void TearDown() override { ASSERT_TRUE(RemoveRecursively(folder_).ok()); }

  void Write(const std::string& name, const std::string& contents) {
    std::ofstream(absl::StrCat(folder_, "/", name)) << contents;
  }
  void WriteConfig(const std::string& model, const std::string& from, const std::string& to) {
    std::string config = kPlanConfig;
    ASSERT_NE(config.find(from), std::string::npos);
    config.replace(config.find(from), from.size(), to);
    Write(absl::StrCat("models/", model, "/config.json"), config);
  }

  // Zeros under the names and shapes of the layout but for `wrong`, which gets another shape.
  void WriteWeights(const std::string& model, const std::string& wrong = "") {
    const std::string folder = absl::StrCat(folder_, "/models/", model);
    const auto config = layout::LoadModelConfig(folder);
    ASSERT_TRUE(config.ok()) << config.status();
    std::vector<layout::SafetensorsSpec> specs;
    int64_t elements = 0;
    for (const layout::ParameterEntry& entry : layout::LayoutFor(*config, false).entries) {
      for (const layout::FileTensor& part : entry.parts) {
        specs.push_back({part.name, "F32", part.shape});
        if (part.name == wrong) specs.back().shape = {part.elements(), 1, 1};
        elements += part.elements();
      }
    }
    Write(absl::StrCat("models/", model, "/model.safetensors"),
          layout::EncodeSafetensorsHeader(specs) + std::string(4 * elements, '\0'));
  }

  absl::StatusOr<Plan> Make(const std::string& text, std::vector<std::string> overrides = {}) {
    const auto job = ParseJob(text, "job.yaml", folder_, overrides);
    if (!job.ok()) return job.status();
    return MakePlan(job->spec, job->positions, host_);
  }
  Plan Planned(const std::string& text, std::vector<std::string> overrides = {}) {
    const auto plan = Make(text, std::move(overrides));
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? *plan : Plan();
  }
  std::string ErrorOf(const std::string& text, std::vector<std::string> overrides = {}) {
    const auto plan = Make(text, std::move(overrides));
    return plan.ok() ? "accepted" : std::string(plan.status().message());
  }

  std::string folder_;
  HostFacts host_ = {4, int64_t{8} << 30, int64_t{1} << 30};
};

}  // namespace retort::job
