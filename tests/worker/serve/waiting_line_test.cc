#include "worker/serve/waiting_line.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::worker {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Drain(WaitingLine<std::string>& line) {
  std::vector<std::string> order;
  while (!line.empty()) {
    const std::string front = line.Front();
    order.push_back(line.Pop());
    EXPECT_EQ(front, order.back());
  }
  return order;
}

TEST(WaitingLineTest, Pop_SeveralClients_TakeTurns) {
  WaitingLine<std::string> line({});
  ASSERT_TRUE(line.Add("a", 1, 1, "a1").ok());
  ASSERT_TRUE(line.Add("a", 2, 1, "a2").ok());
  ASSERT_TRUE(line.Add("a", 3, 1, "a3").ok());
  ASSERT_TRUE(line.Add("b", 4, 1, "b1").ok());
  ASSERT_TRUE(line.Add("c", 5, 1, "c1").ok());
  ASSERT_TRUE(line.Add("c", 6, 1, "c2").ok());
  EXPECT_EQ(line.size(), 6);
  EXPECT_THAT(Drain(line), ElementsAre("a1", "b1", "c1", "a2", "c2", "a3"));
}

TEST(WaitingLineTest, Add_ClientThatWasServed_GoesToTheEnd) {
  WaitingLine<std::string> line({});
  ASSERT_TRUE(line.Add("a", 1, 1, "a1").ok());
  ASSERT_TRUE(line.Add("b", 2, 1, "b1").ok());
  EXPECT_EQ(line.Pop(), "a1");
  ASSERT_TRUE(line.Add("a", 3, 1, "a2").ok());
  EXPECT_THAT(Drain(line), ElementsAre("b1", "a2"));
}

TEST(WaitingLineTest, Remove_AnyPlace_OthersKeepTheirTurns) {
  WaitingLine<std::string> line({});
  ASSERT_TRUE(line.Add("a", 1, 1, "a1").ok());
  ASSERT_TRUE(line.Add("a", 2, 1, "a2").ok());
  ASSERT_TRUE(line.Add("b", 3, 1, "b1").ok());
  ASSERT_TRUE(line.Add("c", 4, 1, "c1").ok());
  EXPECT_TRUE(line.Remove(1));
  EXPECT_TRUE(line.Remove(3));
  EXPECT_FALSE(line.Remove(3));
  EXPECT_FALSE(line.Remove(9));
  EXPECT_THAT(Drain(line), ElementsAre("a2", "c1"));
}

TEST(WaitingLineTest, Add_Full_ResourceExhaustedUntilOneLeaves) {
  WaitingLine<std::string> line({.requests = 2, .bytes = 100});
  ASSERT_TRUE(line.Add("a", 1, 60, "a1").ok());
  EXPECT_EQ(line.Add("b", 2, 50, "b1").code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(line.Add("b", 3, 40, "b2").ok());
  EXPECT_EQ(line.Add("c", 4, 0, "c1").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(line.Remove(1));
  EXPECT_TRUE(line.Add("c", 5, 60, "c2").ok());
  EXPECT_THAT(Drain(line), ElementsAre("b2", "c2"));
}

}  // namespace
}  // namespace retort::worker
