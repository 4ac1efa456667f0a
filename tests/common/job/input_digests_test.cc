#include "common/job/input_digests.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "gmock/gmock.h"

namespace retort::job {
namespace {

using testing::HasSubstr;

class InputDigestsTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* folder : {"policy", "adapter", "reference"}) {
      ASSERT_TRUE(MakeDirectories(absl::StrCat(root_, "/", folder)).ok());
    }
    for (const char* file : {"train.jsonl", "validation.jsonl", "policy/config.json",
                             "adapter/adapter_config.json", "reference/config.json"}) {
      Write(file, file);
    }
    spec_.mutable_policy()->set_path(root_ + "/policy");
    spec_.mutable_data()->set_train(root_ + "/train.jsonl");
    spec_.mutable_data()->set_validation(root_ + "/validation.jsonl");
    spec_.mutable_algorithm()->set_type(v1::ALGORITHM_TYPE_PPO);
    spec_.mutable_eval()->set_every(1);
  }
  void TearDown() override { EXPECT_TRUE(RemoveRecursively(root_).ok()); }

  void UseAdapter() { spec_.mutable_policy()->mutable_lora()->set_path(root_ + "/adapter"); }
  void UseReference() { spec_.mutable_reference()->set_path(root_ + "/reference"); }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileDurably(absl::StrCat(root_, "/", name), text).ok());
  }
  InputDigests Digests() {
    const auto digests = DigestInputs(spec_);
    EXPECT_TRUE(digests.ok()) << digests.status();
    return digests.value_or(InputDigests());
  }
  // The keys of which a role notices a difference.
  std::set<std::string> Compared(v1::Role role) {
    std::set<std::string> keys;
    const InputDigests right = Digests();
    EXPECT_TRUE(CheckInputs(spec_, role, right).ok());
    for (const auto& [key, digest] : right) {
      InputDigests other = right;
      other[key] = "another";
      if (!CheckInputs(spec_, role, other).ok()) keys.insert(key);
    }
    return keys;
  }

  const std::string root_ = absl::StrCat(testing::TempDir(), "/input_digests_", RandomHex(4));
  v1::JobSpec spec_;
};

// A file that a role reads is part of what the job is: a resume with another one is refused.
TEST_F(InputDigestsTest, EachFileThatIsRead_ChangesItsOwnDigest) {
  UseAdapter();
  UseReference();
  const struct {
    const char* file;
    const char* input;
  } cases[] = {{"train.jsonl", "data.train"},
               {"validation.jsonl", "data.validation"},
               {"policy/config.json", "policy.config"},
               {"policy/tokenizer.json", "policy.config"},
               {"policy/merges.txt", "policy.config"},
               {"policy/chat_template.jinja", "policy.config"},
               {"policy/model.safetensors", "policy.weights"},
               {"adapter/adapter_model.safetensors", "policy.lora.weights"},
               {"adapter/adapter_config.json", "policy.lora.config"},
               {"reference/tokenizer_config.json", "reference.config"},
               {"reference/model.safetensors", "reference.weights"}};
  for (const auto& c : cases) {
    const InputDigests before = Digests();
    Write(c.file, absl::StrCat("another ", c.file));
    InputDigests after = Digests();
    EXPECT_NE(after[c.input], before.at(c.input)) << c.file;
    after[c.input] = before.at(c.input);
    EXPECT_EQ(after, before) << c.file;
  }
}

TEST_F(InputDigestsTest, FileThatNobodyReads_ChangesNothing) {
  const InputDigests before = Digests();
  Write("policy/README.md", "about the model");
  EXPECT_EQ(Digests(), before);
}

TEST_F(InputDigestsTest, Renamed_IsAnotherFile) {
  Write("policy/model.safetensors", "weights");
  const InputDigests before = Digests();
  ASSERT_TRUE(
      RenameDurably(root_ + "/policy/model.safetensors", root_ + "/policy/b.safetensors").ok());
  EXPECT_NE(Digests().at("policy.weights"), before.at("policy.weights"));
}

TEST_F(InputDigestsTest, Check_RoleComparesWhatItReads) {
  const std::set<std::string> policy = {"policy.config", "policy.weights"};
  EXPECT_EQ(Compared(v1::ROLE_ROLLOUT),
            (std::set<std::string>{"policy.config", "data.train", "data.validation"}));
  EXPECT_EQ(Compared(v1::ROLE_SCORER), policy);
  EXPECT_EQ(Compared(v1::ROLE_LEARNER), policy);
  UseAdapter();
  const std::set<std::string> adapted = {"policy.config", "policy.weights", "policy.lora.config",
                                         "policy.lora.weights"};
  EXPECT_EQ(Compared(v1::ROLE_ROLLOUT),
            (std::set<std::string>{"policy.config", "policy.weights", "policy.lora.config",
                                   "policy.lora.weights", "data.train", "data.validation"}));
  EXPECT_EQ(Compared(v1::ROLE_SCORER), adapted);
  spec_.mutable_policy()->clear_lora();
  UseReference();
  EXPECT_EQ(Compared(v1::ROLE_SCORER),
            (std::set<std::string>{"policy.config", "reference.config", "reference.weights"}));
  spec_.mutable_algorithm()->set_type(v1::ALGORITHM_TYPE_SFT);
  EXPECT_EQ(Compared(v1::ROLE_LEARNER),
            (std::set<std::string>{"policy.config", "policy.weights", "data.train"}));
  EXPECT_EQ(Compared(v1::ROLE_ROLLOUT),
            (std::set<std::string>{"policy.config", "data.validation"}));
  spec_.mutable_eval()->set_every(0);
  EXPECT_EQ(Compared(v1::ROLE_ROLLOUT), (std::set<std::string>{"policy.config"}));
}

TEST_F(InputDigestsTest, Check_FilesThatTheRoleDoesNotRead_MayBeMissing) {
  const InputDigests digests = Digests();
  ASSERT_TRUE(RemoveRecursively(root_ + "/train.jsonl").ok());
  ASSERT_TRUE(RemoveRecursively(root_ + "/validation.jsonl").ok());
  EXPECT_TRUE(CheckInputs(spec_, v1::ROLE_SCORER, digests).ok());
  EXPECT_EQ(CheckInputs(spec_, v1::ROLE_ROLLOUT, digests).code(), absl::StatusCode::kNotFound);
}

TEST_F(InputDigestsTest, Check_OtherFile_NamesFolderAndBothDigests) {
  const InputDigests digests = Digests();
  Write("policy/config.json", "newer");
  const absl::Status status = CheckInputs(spec_, v1::ROLE_SCORER, digests);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("policy.config (", root_, "/policy) is ",
                                     Digests().at("policy.config"), " here and ",
                                     digests.at("policy.config"), " where the run was started")));
}

}  // namespace
}  // namespace retort::job
