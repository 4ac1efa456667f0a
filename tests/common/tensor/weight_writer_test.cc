#include "common/tensor/weight_writer.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/tensor/model_weights.h"
#include "common/tensor/tensor_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/family_configs.h"
#include "testing/tiny_model.h"

namespace retort::tensor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

OutgoingTensor Ones(const std::string& name, int64_t elements, float value = 1) {
  return {name, "F32", {elements}, [=] { return at::full({elements}, value, at::kFloat); }};
}

class WeightWriterTest : public testing::Test {
 protected:
  const std::string folder_ = tiny::ConfigFolder("{}");
};

TEST_F(WeightWriterTest, EveryFamily_ThroughFilesOnly_SameTensors) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const ParameterArena arena = tiny::RandomArena(config, false);
    const std::string first = tiny::ConfigFolder("{}"), second = tiny::ConfigFolder("{}");
    ASSERT_TRUE(WriteModelWeights(first, arena).ok());
    const auto resolved = layout::ResolveWeights(first, arena.layout());
    ASSERT_TRUE(resolved.ok()) << resolved.status();
    const auto files = WriteWeightFiles(second, OutgoingTensors(*resolved, ""), {});
    ASSERT_TRUE(files.ok()) << files.status();
    EXPECT_EQ(*files, 1);
    EXPECT_EQ(*ReadFile(second + "/model.safetensors", 1 << 24),
              *ReadFile(first + "/model.safetensors", 1 << 24))
        << family.name;
  }
}

TEST_F(WeightWriterTest, Dtypes_AsATensorIsRounded) {
  const ParameterArena arena = tiny::RandomArena(tiny::TinyConfig(), true);
  for (const auto& [dtype, type] :
       {std::pair("BF16", at::kBFloat16), std::pair("F16", at::kHalf)}) {
    ASSERT_TRUE(WriteWeightFiles(folder_, OutgoingTensors(arena, dtype), {}).ok());
    const auto read = ReadTensorFile(folder_ + "/model.safetensors");
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_FALSE(read->contains(layout::kValueHeadWeight));
    const layout::ParameterEntry& entry = *arena.layout().Find("model.norm.weight");
    EXPECT_TRUE(at::equal(read->at(entry.name), arena.View(entry).to(type)));
  }
}

TEST_F(WeightWriterTest, Shards_FilledInOrder_LargeTensorsAlone) {
  std::vector<std::pair<int64_t, int64_t>> progress;
  const std::vector<OutgoingTensor> tensors = {Ones("a", 10), Ones("b", 15), Ones("c", 1),
                                               Ones("d", 90), Ones("e", 2)};
  const auto files = WriteWeightFiles(
      folder_, tensors, {.shard_bytes = 100, .on_progress = [&](int64_t done, int64_t total) {
                           progress.emplace_back(done, total);
                         }});
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(*files, 4);
  EXPECT_THAT(progress, ElementsAre(std::pair(40, 472), std::pair(100, 472), std::pair(104, 472),
                                    std::pair(464, 472), std::pair(472, 472)));
  const Json index =
      *ParseJson(*ReadFile(folder_ + "/model.safetensors.index.json", 1 << 20), "the index");
  EXPECT_EQ(index["metadata"]["total_size"], 472);
  const Json want = {{"a", "model-00001-of-00004.safetensors"},
                     {"b", "model-00001-of-00004.safetensors"},
                     {"c", "model-00002-of-00004.safetensors"},
                     {"d", "model-00003-of-00004.safetensors"},
                     {"e", "model-00004-of-00004.safetensors"}};
  EXPECT_EQ(index["weight_map"], want);
  for (const auto& [name, file] : want.items()) {
    EXPECT_TRUE(
        ReadTensorFile(absl::StrCat(folder_, "/", file.get<std::string>()))->contains(name));
  }
}

TEST_F(WeightWriterTest, ValueTheDtypeCannotHold_NamesFileAndTensor) {
  const float infinity = std::numeric_limits<float>::infinity();
  OutgoingTensor large = Ones("w", 3, 65520.0f);  // The least that rounds beyond 65504.
  large.dtype = "F16";
  for (const OutgoingTensor& tensor : {large, Ones("w", 3, infinity)}) {
    const absl::Status status = WriteWeightFile(folder_ + "/x.safetensors", {tensor});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("x.safetensors: tensor w has a value"));
  }
  large.dtype = "BF16";
  EXPECT_TRUE(WriteWeightFile(folder_ + "/x.safetensors", {large}).ok());
}

TEST_F(WeightWriterTest, ReaderThatFails_ItsError) {
  OutgoingTensor tensor = Ones("w", 3);
  tensor.read = [] { return absl::DataLossError("gone"); };
  EXPECT_EQ(WriteWeightFiles(folder_, {tensor}, {}).status(), absl::DataLossError("gone"));
}

}  // namespace
}  // namespace retort::tensor
