#include "driver/cli/live_table.h"

#include <cstdlib>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/fake_clock.h"

namespace retort::driver {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::StepRecord Record(int64_t step) {
  v1::StepRecord record;
  record.set_step(step);
  (*record.mutable_scalars())["env/reward_mean"] = 0.5;
  (*record.mutable_scalars())["loss"] = -0.125;
  (*record.mutable_phase_seconds())["train"] = 1.25;
  return record;
}

// Everything a LiveTable prints, from a memory stream.
class Printed {
 public:
  explicit Printed(bool terminal)
      : stream_(open_memstream(&text_, &size_)),
        table_(stream_, terminal, 10, "sorting", &clock_) {}
  ~Printed() {
    std::fclose(stream_);
    std::free(text_);
  }
  LiveTable& table() { return table_; }
  testing::FakeClock& clock() { return clock_; }
  std::string text() {
    std::fflush(stream_);
    return std::string(text_, size_);
  }

 private:
  char* text_ = nullptr;
  size_t size_ = 0;
  std::FILE* stream_;
  testing::FakeClock clock_;
  LiveTable table_;
};

TEST(TableRowTest, KnownAndAbsentNumbers_AlignUnderTheirTitles) {
  const std::string header = TableHeader();
  const std::string row = TableRow(Record(6));
  ASSERT_EQ(header.size(), row.size());
  EXPECT_EQ(row.substr(0, 6), "     7");  // People count steps from 1.
  const size_t reward = header.find("reward");
  EXPECT_EQ(row.substr(reward, 6), "0.5000");
  EXPECT_EQ(row.substr(header.find("KL"), 2), " -");
  EXPECT_THAT(row, HasSubstr("-0.1250"));
  EXPECT_THAT(row, HasSubstr("1.250"));
}

TEST(StepTimerTest, TwoSteps_RemainingIsTheirPaceTimesWhatIsLeft) {
  StepTimer timer(10);
  timer.Finished(0, absl::Seconds(5));
  EXPECT_EQ(timer.Remaining(), absl::ZeroDuration());
  timer.Finished(1, absl::Seconds(7));
  EXPECT_EQ(timer.Remaining(), absl::Seconds(16));
}

TEST(LiveTableTest, NoTerminal_PlainLinesWithoutEscapes) {
  Printed printed(/*terminal=*/false);
  printed.table().Step(Record(0), 4, 4);
  printed.table().Note("rollout-1 was respawned");
  printed.table().Finish();
  EXPECT_THAT(printed.text(), Not(HasSubstr("\033")));
  EXPECT_THAT(printed.text(), HasSubstr("rollout-1 was respawned\n"));
}

TEST(LiveTableTest, Terminal_StatusLineIsClearedBeforeTheNextRow) {
  Printed printed(/*terminal=*/true);
  printed.table().Step(Record(0), 3, 4);
  printed.clock().Advance(absl::Seconds(2));
  printed.table().Step(Record(1), 3, 4);
  EXPECT_THAT(printed.text(), HasSubstr("\r\033[K     2 "));
  EXPECT_THAT(printed.text(), HasSubstr("2/10  16 s left  workers 3/4"));
}

TEST(LiveTableTest, Eval_OneLineInPercent) {
  Printed printed(/*terminal=*/false);
  v1::EvalRecord record;
  record.set_version(20);
  record.set_rows(1000);
  record.set_exact_match(0.415);
  printed.table().Eval(record);
  EXPECT_THAT(printed.text(),
              HasSubstr("held-out exact match after step 20: 41.5 % of 1000 rows\n"));
}

}  // namespace
}  // namespace retort::driver
