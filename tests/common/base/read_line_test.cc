#include "common/base/read_line.h"

#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"

namespace retort {
namespace {

using testing::ElementsAre;

std::vector<std::string> Lines(const std::string& text, size_t max_bytes) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  std::string line;
  while (true) {
    const absl::StatusOr<bool> more = ReadLine(in, max_bytes, &line);
    if (!more.ok()) lines.push_back(std::string(more.status().message()));
    if (!more.ok() || !*more) return lines;
    lines.push_back(line);
  }
}

TEST(ReadLineTest, EachLine_WithItsEnd) {
  EXPECT_THAT(Lines("a\n\nbc", 2), ElementsAre("a\n", "\n", "bc"));
  EXPECT_THAT(Lines("", 2), ElementsAre());
  EXPECT_THAT(Lines(std::string("\0\n", 2), 2), ElementsAre(std::string("\0\n", 2)));
}

TEST(ReadLineTest, LongerThanTheBound_Refused) {
  EXPECT_THAT(Lines("ab\nabc\n", 2), ElementsAre("ab\n", "a line of more than 2 bytes"));
}

TEST(ReadLineTest, StreamThatCannotBeRead_DataLoss) {
  std::istringstream in("a");
  in.setstate(std::ios::badbit);
  std::string line;
  EXPECT_EQ(ReadLine(in, 2, &line).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace retort
