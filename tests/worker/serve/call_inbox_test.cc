#include "worker/serve/call_inbox.h"

#include <string>
#include <variant>

#include "gtest/gtest.h"

namespace retort::worker {
namespace {

constexpr absl::Duration kNow = absl::ZeroDuration();

rpc::InferenceEvent Score(rpc::InferenceCallId call, size_t bytes = 10) {
  v1::ScoreRequest request;
  request.set_text(std::string(bytes, 'x'));
  return rpc::ScoreCalled{call, request, "peer"};
}

// The call of the next event, negative if it is its end; 0 without one.
int64_t Next(CallInbox* inbox) {
  const auto event = inbox->Pop(kNow);
  if (!event.has_value()) return 0;
  const auto call = std::visit([](const auto& e) { return static_cast<int64_t>(e.call); }, *event);
  return std::holds_alternative<rpc::CallEnded>(*event) ? -call : call;
}

TEST(CallInboxTest, Pop_RequestsAndEnds_InOrder) {
  CallInbox inbox(1 << 20);
  ASSERT_TRUE(inbox.Push(Score(1)).ok());
  ASSERT_TRUE(inbox.Push(Score(2)).ok());
  EXPECT_EQ(Next(&inbox), 1);
  EXPECT_FALSE(inbox.Ended(1));
  ASSERT_TRUE(inbox.Push(rpc::CallEnded{1}).ok());
  EXPECT_TRUE(inbox.Ended(1));
  EXPECT_EQ(Next(&inbox), 2);
  EXPECT_EQ(Next(&inbox), -1);
  EXPECT_FALSE(inbox.Ended(1));
  EXPECT_EQ(Next(&inbox), 0);
}

TEST(CallInboxTest, Push_EndOfACallThatNobodyTook_NothingIsLeft) {
  CallInbox inbox(10000);
  for (int call = 1; call <= 1000; ++call) {
    ASSERT_TRUE(inbox.Push(Score(call, 6000)).ok()) << call;
    ASSERT_TRUE(inbox.Push(rpc::CallEnded{static_cast<uint64_t>(call)}).ok());
  }
  EXPECT_EQ(Next(&inbox), 0);
}

TEST(CallInboxTest, Push_MoreBytesThanAllowed_RefusedUntilSomeAreTaken) {
  CallInbox inbox(10000);
  ASSERT_TRUE(inbox.Push(Score(1, 6000)).ok());
  EXPECT_EQ(inbox.Push(Score(2, 6000)).code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(inbox.Push(rpc::CallEnded{2}).ok());
  EXPECT_EQ(Next(&inbox), 1);
  ASSERT_TRUE(inbox.Push(Score(3, 20000)).ok());  // Alone it always may.
  EXPECT_EQ(Next(&inbox), 3);
  EXPECT_EQ(Next(&inbox), 0);
}

}  // namespace
}  // namespace retort::worker
