// Real tokenizers for tests. They lie outside of the repository, in RETORT_SHARED (default
// ../shared); a test that wants them is skipped where they are not.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>
#include <ostream>
#include <string>

#include "common/base/file.h"
#include "common/text/tokenizer.h"
#include "gtest/gtest.h"

namespace retort::text {

inline std::string SharedDir() {
  const char* shared = std::getenv("RETORT_SHARED");
  if (shared != nullptr) return shared;
  const char* source = std::getenv("RETORT_SOURCE_DIR");
  return ResolvePath(source == nullptr ? "." : source, "../shared");
}

struct GoldenTokenizer {
  std::string name;
  std::string folder;       // Under data/.
  bool byte_level = false;  // Else SentencePiece style.
  bool composes = false;    // Its normalizer is NFC.
};

inline void PrintTo(const GoldenTokenizer& golden, std::ostream* out) { *out << golden.name; }

inline auto GoldenTokenizers() {
  return testing::Values(GoldenTokenizer{"aidreams260K", "models/aidreams260K"},
                         GoldenTokenizer{"mistral", "tokenizers/mistral"},
                         GoldenTokenizer{"gemma3", "tokenizers/gemma3"},
                         GoldenTokenizer{"qwen3", "tokenizers/qwen3", true, true},
                         GoldenTokenizer{"deepseek_v3", "tokenizers/deepseek_v3", true},
                         GoldenTokenizer{"gptoss", "tokenizers/gptoss", true});
}

// Those of which texts are aligned with another one's.
inline auto AlignedTokenizers() {
  return testing::Values(GoldenTokenizer{"mistral", "tokenizers/mistral"},
                         GoldenTokenizer{"qwen3", "tokenizers/qwen3", true, true},
                         GoldenTokenizer{"deepseek_v3", "tokenizers/deepseek_v3", true});
}

class GoldenTokenizerTest : public testing::TestWithParam<GoldenTokenizer> {
 protected:
  void SetUp() override {
    const std::string folder = SharedDir() + "/data/" + GetParam().folder;
    if (!FileExists(folder + "/tokenizer.json"))
      GTEST_SKIP() << "no " << folder << "; set RETORT_SHARED";
    // Loaded once: a large vocabulary takes a second under a sanitizer.
    static auto* loaded = new std::map<std::string, absl::StatusOr<std::unique_ptr<Tokenizer>>>();
    auto [it, inserted] = loaded->try_emplace(GetParam().name, absl::UnknownError("not loaded"));
    if (inserted) it->second = Tokenizer::Load(folder);
    ASSERT_TRUE(it->second.ok()) << it->second.status().message();
    tokenizer_ = it->second->get();
  }

  const Tokenizer* tokenizer_ = nullptr;
};

}  // namespace retort::text
