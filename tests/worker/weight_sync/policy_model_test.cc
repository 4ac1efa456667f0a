// A policy that is an adapter: its base is read once and never written, its versions travel alone.
#include "worker/weight_sync/policy_model.h"

#include <unistd.h>

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/checkpoint/hugging_face_export.h"
#include "common/job/policy_adapter.h"
#include "common/model/packed_batch.h"
#include "common/tensor/model_weights.h"
#include "gmock/gmock.h"
#include "testing/resident_memory.h"
#include "testing/tiny_job.h"
#include "worker/weight_sync/weight_artifact.h"
#include "worker/weight_sync/weight_ring_fixture.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

// Elements that two arenas have at the same address.
bool SameMemory(const at::Tensor& a, const at::Tensor& b) {
  return a.storage().data() == b.storage().data();
}

at::Tensor HiddenOf(const model::Model& model) {
  const at::NoGradGuard no_grad;
  return model.Hidden(model::Pack({{1, 5, 9, 2, 30, 7}}));
}

PolicyModel TinyAdapted(bool value_head = false, uint64_t seed = 1) {
  const auto policy = PolicyModel::Adapted(tiny::TinyConfig(), tiny::TinyAdapter(),
                                           tiny::RandomArena(tiny::TinyConfig(), value_head, seed));
  RETORT_CHECK(policy.ok()) << policy.status();
  return *policy;
}

// A job over folders: a model with a value head, and an adapter of it whose B is not zero.
class PolicyModelTest : public testing::Test {
 protected:
  PolicyModelTest() {
    EXPECT_TRUE(MakeDirectories(folder_ + "/text").ok());
    EXPECT_TRUE(WriteFileDurably(folder_ + "/text/tokenizer.json", tiny::TinyTokenizerJson()).ok());
    EXPECT_TRUE(checkpoint::ExportHuggingFace(folder_ + "/model", config_,
                                              tiny::RandomArena(config_, false), folder_ + "/text")
                    .ok());
    EXPECT_TRUE(
        checkpoint::ExportAdapter(folder_ + "/adapter", config_, tiny::TinyAdapter(), adapter_)
            .ok());
    spec_.mutable_policy()->set_path(folder_ + "/model");
  }
  ~PolicyModelTest() override { EXPECT_TRUE(RemoveRecursively(folder_).ok()); }

  void UseNewAdapter() {
    v1::LoraSpec& lora = *spec_.mutable_policy()->mutable_lora();
    lora.set_rank(4);
    lora.set_alpha(8);
    lora.add_target_modules("all-linear");
  }
  void UseAdapterFolder() {
    spec_.mutable_policy()->mutable_lora()->set_path(folder_ + "/adapter");
  }
  PolicyModel Load(bool value_head = false) {
    auto policy = LoadPolicyModel(spec_, config_, value_head);
    RETORT_CHECK(policy.ok()) << policy.status();
    return *std::move(policy);
  }
  tensor::ParameterArena First(const PolicyModel& policy, bool value_head = false) {
    auto arena = tensor::ParameterArena::Allocate(policy.TrainedLayout(value_head));
    EXPECT_TRUE(arena.ok()) << arena.status();
    const absl::Status loaded = LoadFirstTrained(spec_, policy, &*arena);
    EXPECT_TRUE(loaded.ok()) << loaded;
    return *std::move(arena);
  }
  model::Model Reference() {
    const auto weights = LoadReferenceWeights(spec_);
    RETORT_CHECK(weights.ok()) << weights.status();
    auto reference = ReferenceModel(spec_, *weights);
    RETORT_CHECK(reference.ok()) << reference.status();
    return *std::move(reference);
  }

  const std::string folder_ = absl::StrCat(testing::TempDir(), "/policy_model_test_", RandomHex(4));
  const layout::ModelConfig config_ = tiny::TinyConfig();
  const tensor::ParameterArena adapter_ =
      tiny::RandomOver(TinyAdapted().TrainedLayout(/*value_head=*/false), 9);
  v1::JobSpec spec_ = tiny::TinyPpoSpec(4, 1);
};

TEST_F(PolicyModelTest, Load_WithoutLora_EveryWeightIsTrained) {
  const PolicyModel policy = Load();
  EXPECT_FALSE(policy.adapted());
  EXPECT_EQ(policy.TrainedLayout(true).total_elements,
            layout::LayoutFor(config_, true).total_elements);
  EXPECT_TRUE(at::equal(First(policy).flat(), tiny::RandomArena(config_, false).flat()));
  EXPECT_TRUE(CheckBase(policy, "").ok());
}

TEST_F(PolicyModelTest, Load_NewAdapter_ComputesWhatTheBaseDoesAndSoDoesTheReference) {
  UseNewAdapter();
  const PolicyModel policy = Load();
  ASSERT_TRUE(policy.adapted());
  const tensor::ParameterArena first = First(policy);
  EXPECT_GT(first.flat().abs().sum().item<float>(), 0);  // A is drawn.
  const at::Tensor plain = HiddenOf(model::Model(config_, tiny::RandomArena(config_, false)));
  EXPECT_TRUE(at::equal(HiddenOf(policy.Bind(first)), plain));
  EXPECT_TRUE(at::equal(HiddenOf(Reference()), plain));
  EXPECT_TRUE(at::equal(First(policy).flat(), first.flat()));
  spec_.set_seed(spec_.seed() + 1);
  EXPECT_FALSE(at::equal(First(policy).flat(), first.flat()));
}

TEST_F(PolicyModelTest, Load_AdapterFolder_TheReferenceIsWhatTrainingStartsFrom) {
  UseAdapterFolder();
  const PolicyModel policy = Load();
  const tensor::ParameterArena first = First(policy);
  EXPECT_TRUE(at::equal(first.flat(), adapter_.flat()));
  const at::Tensor adapted = HiddenOf(policy.Bind(first));
  EXPECT_TRUE(at::equal(HiddenOf(Reference()), adapted));
  EXPECT_FALSE(at::allclose(HiddenOf(model::Model(config_, policy.base())), adapted, 1e-3, 1e-3));
  spec_.mutable_reference()->set_path(folder_ + "/model");
  EXPECT_TRUE(at::equal(HiddenOf(Reference()), HiddenOf(model::Model(config_, policy.base()))));
}

// Held in half the memory, the base is rounded; the adapter above it is not.
TEST_F(PolicyModelTest, Reference_AdapterFolderOverBf16_AdapterStaysFp32) {
  UseAdapterFolder();
  spec_.mutable_reference()->set_dtype(v1::DATA_TYPE_BFLOAT16);
  const model::Model reference = Reference();
  EXPECT_EQ(reference.layers()[0].qkv.weight.scalar_type(), at::kBFloat16);
  EXPECT_EQ(reference.layers()[0].qkv.adapter.at(0).a.scalar_type(), at::kFloat);
  const tensor::ParameterArena rounded = tiny::RandomArena(config_, false);
  rounded.flat().copy_(rounded.flat().to(at::kBFloat16));
  const auto policy = PolicyModel::Adapted(config_, tiny::TinyAdapter(), rounded);
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_TRUE(at::equal(HiddenOf(reference), HiddenOf(policy->Bind(adapter_))));
}

// A model drawn at random and the adapter above it must not hold the same numbers.
TEST_F(PolicyModelTest, Load_RandomBase_AdapterHasNumbersOfItsOwn) {
  UseNewAdapter();
  spec_.mutable_policy()->clear_path();
  spec_.mutable_policy()->mutable_init()->set_std(0.1);
  const PolicyModel policy = Load();
  const tensor::ParameterArena first = First(policy);
  tensor::ParameterArena same_stream =
      *tensor::ParameterArena::Allocate(policy.TrainedLayout(false));
  tensor::InitializeRandom(spec_.seed(), 0, &same_stream);
  EXPECT_FALSE(at::equal(first.flat(), same_stream.flat()));
  EXPECT_GT(policy.base().flat().abs().sum().item<float>(), 0);
}

TEST_F(PolicyModelTest, LoadFirstTrained_ValueHeadOfTheBase_IsTakenOver) {
  UseNewAdapter();
  const auto adapter = job::AdapterOf(spec_.policy());
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  const tensor::ParameterArena base = tiny::RandomArena(config_, /*value_head=*/true);
  const auto policy = PolicyModel::Adapted(config_, **adapter, base);
  ASSERT_TRUE(policy.ok()) << policy.status();
  const tensor::ParameterArena first = First(*policy, /*value_head=*/true);
  EXPECT_TRUE(
      at::equal(first.Range(first.layout().value_head), base.Range(base.layout().value_head)));
  EXPECT_FALSE(SameMemory(first.flat(), base.flat()));
}

TEST_F(PolicyModelTest, Bind_PolicyAndReference_ShareOneBase) {
  const PolicyModel policy = TinyAdapted();
  const PolicyModel copy = policy;
  const model::Model on = copy.Bind(adapter_);
  const model::Model off(config_, policy.base());
  EXPECT_TRUE(SameMemory(on.embedding(), off.embedding()));
  for (size_t i = 0; i < on.layers().size(); ++i) {
    EXPECT_EQ(on.layers()[i].qkv.weight.data_ptr(), off.layers()[i].qkv.weight.data_ptr());
    EXPECT_EQ(on.layers()[i].mlp_out.weight.data_ptr(), off.layers()[i].mlp_out.weight.data_ptr());
    EXPECT_EQ(on.layers()[i].qkv.adapter.size(), 2u);
    EXPECT_TRUE(off.layers()[i].qkv.adapter.empty());
  }
}

TEST_F(PolicyModelTest, Merge_ComputesWhatTheAdaptedModelDoesAndLeavesTheBase) {
  const PolicyModel policy = TinyAdapted(/*value_head=*/true);
  const at::Tensor before = policy.base().flat().clone();
  const auto merged = policy.Merge(adapter_);
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_TRUE(at::allclose(HiddenOf(model::Model(config_, *merged)),
                           HiddenOf(policy.Bind(adapter_)), 1e-4, 1e-4));
  EXPECT_TRUE(at::equal(policy.base().flat(), before));
}

// 64 MiB of embedding, so that a second copy could not hide among other allocations.
TEST(PolicyMemoryTest, PolicyAndReference_HoldTheBaseOnce) {
  if (kKeepsFreedMemory) GTEST_SKIP() << "sanitizers keep freed memory";
  layout::ModelConfig config = tiny::TinyConfig();
  config.vocab_size = (int64_t{64} << 20) / (4 * config.hidden_size);
  const int64_t before_base = ResidentPages();
  const tensor::ParameterArena base = tiny::RandomArena(config, /*value_head=*/false);
  const int64_t with_base = ResidentPages();
  const auto policy = PolicyModel::Adapted(config, tiny::TinyAdapter(), base);
  ASSERT_TRUE(policy.ok()) << policy.status();
  const tensor::ParameterArena adapter = tiny::RandomOver(policy->TrainedLayout(false), 9);
  const model::Model adapted = policy->Bind(adapter), reference(config, policy->base());
  EXPECT_FALSE(at::equal(HiddenOf(adapted), HiddenOf(reference)));
  EXPECT_GT(with_base - before_base, (int64_t{60} << 20) / getpagesize());
  EXPECT_LT(ResidentPages() - with_base, (int64_t{8} << 20) / getpagesize());
}

TEST_F(PolicyModelTest, CheckBase_OtherBase_BothDigests) {
  const PolicyModel policy = TinyAdapted();
  EXPECT_TRUE(CheckBase(policy, policy.base_digest().ToHex()).ok());
  // Of the published range: a value head that a learner has besides does not count.
  EXPECT_TRUE(CheckBase(TinyAdapted(/*value_head=*/true, 1), policy.base_digest().ToHex()).ok());
  const Digest other = TinyAdapted(false, 2).base_digest();
  const absl::Status status = CheckBase(policy, other.ToHex());
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(status.ToString(), HasSubstr(other.ToHex()));
  EXPECT_THAT(status.ToString(), HasSubstr(policy.base_digest().ToHex()));
  EXPECT_FALSE(CheckBase(policy, "").ok());
  EXPECT_FALSE(CheckBase(PolicyModel(config_), other.ToHex()).ok());
}

// The ring of an adapter: publisher and installers hold the base, versions are the adapter alone.
class AdapterRingTest : public WeightRingFixture {
 protected:
  AdapterRingTest() : WeightRingFixture(TinyAdapted()) {}

  tensor::ParameterArena Trained(int64_t version) const {
    return tiny::RandomOver(policy_.TrainedLayout(/*value_head=*/true),
                            static_cast<uint64_t>(200 + version));
  }
  Digest PublishTrained(Publisher& publisher, int64_t version) {
    const auto digest = publisher.Publish(version, Trained(version).Published());
    EXPECT_TRUE(digest.ok()) << digest.status();
    return digest.value_or(Digest{});
  }
};

TEST_F(AdapterRingTest, Install_EachVersion_BaseAndAdapterBitwise) {
  EXPECT_LT(WeightRingShapeOf(policy_, kLag).slot_elements, policy_.base().flat().numel() / 4);
  const auto publisher = MakePublisher();
  const auto installer =
      Installer::Open(Map(ring::Access::kReadOnly), TinyAdapted(), kLag, absl::Seconds(5));
  ASSERT_TRUE(installer.ok()) << installer.status();
  for (int64_t version = 0; version < 5; ++version) {
    const tensor::ParameterArena trained = Trained(version);
    const Digest digest = PublishTrained(*publisher, version);
    EXPECT_EQ(digest, DigestOfWeights(trained.PublishedSpan()));
    const auto installed = (*installer)->Install(Request(version, digest));
    ASSERT_TRUE(installed.ok()) << installed.status();
    EXPECT_TRUE(at::equal(HiddenOf(*installed->model), HiddenOf(policy_.Bind(trained))));
  }
}

TEST_F(AdapterRingTest, Install_OverAnotherBase_TheCanaryDiffers) {
  const auto publisher = MakePublisher();
  const Digest digest = PublishTrained(*publisher, 0);
  const auto installer =
      Installer::Open(Map(ring::Access::kReadOnly), TinyAdapted(false, 2), kLag, absl::Seconds(5));
  ASSERT_TRUE(installer.ok()) << installer.status();
  const absl::Status status = (*installer)->Install(Request(0, digest)).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("canary log-prob"));
}

TEST_F(AdapterRingTest, Install_WorkerThatTrainsEveryWeight_RefusedByShape) {
  const auto publisher = MakePublisher();
  const absl::Status status =
      Installer::Open(Map(ring::Access::kReadOnly), PolicyModel(config_), kLag, absl::Seconds(5))
          .status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("policy.lora"));
}

TEST_F(AdapterRingTest, Fetch_OnlyTheAdapterTravels) {
  const auto publisher = MakePublisher();
  const auto lookup = ServeWeights(Map(ring::Access::kReadOnly), absl::Seconds(5));
  ASSERT_TRUE(lookup.ok()) << lookup.status();
  int64_t carried = 0;
  const auto installer = Installer::Fetching(
      policy_,
      [&](const std::string&, const std::string& id, absl::Duration,
          const rpc::ArtifactSink& sink) -> absl::Status {
        const auto artifact = (*lookup)(id);
        if (!artifact.ok()) return artifact.status();
        std::string bytes(static_cast<size_t>(artifact->bytes), '\0');
        if (const auto read = artifact->read(0, absl::MakeSpan(bytes)); !read.ok()) return read;
        carried = artifact->bytes;
        if (const auto begun = sink.begin(carried); !begun.ok()) return begun;
        return sink.data(bytes);
      });
  ASSERT_TRUE(installer.ok()) << installer.status();
  const Digest digest = PublishTrained(*publisher, 3);
  const auto installed = (*installer)->Install(Request(3, digest));
  ASSERT_TRUE(installed.ok()) << installed.status();
  EXPECT_TRUE(at::equal(HiddenOf(*installed->model), HiddenOf(policy_.Bind(Trained(3)))));
  EXPECT_LT(carried, static_cast<int64_t>(policy_.base().flat().nbytes()) / 4);
}

}  // namespace
}  // namespace retort::worker
