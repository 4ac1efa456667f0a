#include "common/metrics/jsonl_writer.h"

#include <string>

#include "common/base/file.h"
#include "common/metrics/record_json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::metrics {
namespace {

class JsonlWriterTest : public testing::Test {
 protected:
  JsonlWriterTest() { EXPECT_TRUE(RemoveRecursively(path_).ok()); }

  void Write(int64_t first_step, int64_t last_step) {
    absl::StatusOr<JsonlWriter> writer = JsonlWriter::Open(path_);
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (int64_t step = first_step; step <= last_step; ++step) {
      v1::StepRecord record;
      record.set_step(step);
      ASSERT_TRUE(writer->Append(record).ok());
      v1::EvalRecord eval;
      eval.set_version(step + 1);
      ASSERT_TRUE(writer->Append(eval).ok());
    }
  }
  std::string Contents() { return ReadFile(path_, 1 << 20).value_or("unreadable"); }

  const std::string path_ = testing::TempDir() + "/" +
                            testing::UnitTest::GetInstance()->current_test_info()->name() +
                            ".jsonl";
};

TEST_F(JsonlWriterTest, Append_EachRecordIsInTheFileAtOnce) {
  absl::StatusOr<JsonlWriter> writer = JsonlWriter::Open(path_);
  ASSERT_TRUE(writer.ok());
  v1::StepRecord record;
  ASSERT_TRUE(writer->Append(record).ok());
  EXPECT_EQ(Contents(), RecordToJson(record) + "\n");  // The writer is still open.
}

TEST_F(JsonlWriterTest, Open_AppendsToWhatIsThere) {
  Write(0, 1);
  Write(2, 2);
  EXPECT_EQ(ReadMetrics(path_)->steps.size(), 3);
}

TEST_F(JsonlWriterTest, OpenInMissingFolder_NamesPath) {
  EXPECT_THAT(std::string(JsonlWriter::Open("/no/such/m.jsonl").status().message()),
              testing::HasSubstr("/no/such/m.jsonl"));
}

}  // namespace
}  // namespace retort::metrics
