#include "common/ring/fd_broker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>
#include <vector>

#include "common/base/random_id.h"
#include "common/ring/broker_client.h"
#include "common/ring/broker_protocol.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::ring {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(30);

class FdBrokerTest : public testing::Test {
 protected:
  void SetUp() override { Serve({}); }

  void Serve(FdBrokerOptions options) {
    broker_.reset();
    options.socket = address_.socket;
    options.token = address_.token;
    auto broker = FdBroker::Start(options);
    ASSERT_TRUE(broker.ok()) << broker.status();
    broker_ = *std::move(broker);
  }

  absl::StatusOr<Segment> Open(const std::string& name, int64_t bytes,
                               Access access = Access::kReadWrite) {
    return OpenSegment(address_, name, bytes, access, kLong);
  }

  BrokerAddress address_{"retort-test-" + RandomHex(8), RandomHex(16)};
  std::unique_ptr<FdBroker> broker_;
};

TEST_F(FdBrokerTest, Open_SameName_SameMemoryZeroFilled) {
  auto a = Open("job/x", 100'000);
  auto b = Open("job/x", 100'000, Access::kReadOnly);
  ASSERT_TRUE(a.ok()) << a.status();
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ(std::count(a->data(), a->data() + 100'000, std::byte{0}), 100'000);
  std::memcpy(a->data() + 5000, "weights", 7);
  EXPECT_EQ(std::memcmp(b->data() + 5000, "weights", 7), 0);
  EXPECT_NE(a->data(), b->data());
  EXPECT_EQ(broker_->segment_count(), 1);
}

TEST_F(FdBrokerTest, Open_Large_AlignedForHugePages) {
  auto segment = Open("job/large", (int64_t{64} << 20) + 1);
  ASSERT_TRUE(segment.ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(segment->data()) % (2 << 20), 0u);
  segment->data()[int64_t{64} << 20] = std::byte{1};
}

TEST_F(FdBrokerTest, Open_OtherSize_InvalidArgumentWithBothSizes) {
  ASSERT_TRUE(Open("job/x", 1000).ok());
  const absl::Status status = Open("job/x", 1001).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("exists with 1000 bytes; 1001"));
}

TEST_F(FdBrokerTest, Open_WrongToken_Unauthenticated) {
  BrokerAddress wrong = address_;
  wrong.token.back() ^= 1;
  const auto segment = OpenSegment(wrong, "job/x", 1000, Access::kReadWrite, kLong);
  EXPECT_EQ(segment.status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(broker_->segment_count(), 0);
}

TEST_F(FdBrokerTest, Open_BadArguments_InvalidArgument) {
  EXPECT_EQ(Open("", 1000).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Open(std::string(300, 'x'), 1000).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Open("job\nx", 1000).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Open("job/x", 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Open("job/x", -1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FdBrokerTest, Open_AboveLimits_ResourceExhausted) {
  Serve({.socket = "", .token = "", .max_segments = 1, .max_segment_bytes = 5000});
  EXPECT_EQ(Open("job/x", 5001).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Open("job/x", 5000).ok());
  EXPECT_EQ(Open("job/y", 1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Open("job/x", 5000).ok());
}

TEST_F(FdBrokerTest, Open_NobodyServes_DeadlineExceeded) {
  broker_.reset();
  const auto segment =
      OpenSegment(address_, "job/x", 1000, Access::kReadWrite, absl::Milliseconds(50));
  EXPECT_EQ(segment.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(FdBrokerTest, Open_BrokerComesLater_Succeeds) {
  broker_.reset();
  absl::StatusOr<Segment> segment = absl::UnknownError("not asked yet");
  std::thread client([&] { segment = Open("job/x", 1000); });
  Serve({});
  client.join();
  EXPECT_TRUE(segment.ok()) << segment.status();
}

TEST_F(FdBrokerTest, Start_NameInUse_AlreadyExists) {
  const auto second = FdBroker::Start({.socket = address_.socket, .token = "t"});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(FdBrokerTest, Start_EmptyToken_InvalidArgument) {
  const auto open_to_all = FdBroker::Start({.socket = address_.socket + "2", .token = ""});
  EXPECT_EQ(open_to_all.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FdBrokerTest, Drop_Prefix_ForgetsThoseNamesAndKeepsMappings) {
  auto old = Open("job/g1/x", 1000);
  ASSERT_TRUE(old.ok());
  ASSERT_TRUE(Open("job/g2/x", 1000).ok());
  old->data()[0] = std::byte{7};
  ASSERT_TRUE(DropSegments(address_, "job/g1/", kLong).ok());
  EXPECT_EQ(broker_->segment_count(), 1);
  EXPECT_EQ(old->data()[0], std::byte{7});
  auto fresh = Open("job/g1/x", 1000);
  ASSERT_TRUE(fresh.ok());
  EXPECT_EQ(fresh->data()[0], std::byte{0});
  EXPECT_EQ(broker_->Drop(""), 2);
}

TEST_F(FdBrokerTest, Client_KilledWithSegmentMapped_MemoryAndBrokerSurvive) {
  auto own = Open("job/x", 1000);
  ASSERT_TRUE(own.ok());
  const pid_t pid = fork();
  if (pid == 0) {
    auto theirs = Open("job/x", 1000);
    if (!theirs.ok()) _exit(1);
    theirs->data()[3] = std::byte{9};
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(own->data()[3], std::byte{9});
  EXPECT_TRUE(Open("job/x", 1000).ok());
}

TEST_F(FdBrokerTest, Client_ConnectsAndSaysNothing_OthersAreServed) {
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 20; ++i) {
    auto fd = ConnectToBroker(address_.socket);
    ASSERT_TRUE(fd.ok());
    silent.push_back(*std::move(fd));
  }
  EXPECT_TRUE(Open("job/x", 1000).ok());
}

TEST_F(FdBrokerTest, Client_SendsGarbage_RefusedAndOthersAreServed) {
  const std::string packets[] = {"", "x", std::string(40, '\0'), std::string(5000, 'x')};
  for (const std::string& packet : packets) {
    auto fd = ConnectToBroker(address_.socket);
    ASSERT_TRUE(fd.ok());
    if (packet.empty()) continue;  // Closes at once.
    ASSERT_TRUE(SendPacket(fd->get(), packet).ok());
  }
  EXPECT_TRUE(Open("job/x", 1000).ok());
  EXPECT_EQ(broker_->segment_count(), 1);
}

TEST_F(FdBrokerTest, Clients_ManyAtOnce_AllServed) {
  std::vector<std::thread> threads;
  std::vector<absl::Status> results(8);
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20 && results[t].ok(); ++i) {
        results[t] = Open("job/" + std::to_string((t + i) % 5), 4096).status();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) EXPECT_TRUE(result.ok()) << result;
  EXPECT_EQ(broker_->segment_count(), 5);
}

TEST(BrokerProtocolTest, DecodeRequest_Truncated_InvalidArgument) {
  const auto packet = EncodeRequest(
      {.operation = BrokerOperation::kOpen, .token = "token", .name = "name", .bytes = 10});
  ASSERT_TRUE(packet.ok());
  ASSERT_TRUE(DecodeRequest(*packet).ok());
  for (size_t n = 0; n < packet->size(); ++n) {
    EXPECT_EQ(DecodeRequest(absl::string_view(*packet).substr(0, n)).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(SegmentTest, Map_SizeNotSealed_FailedPrecondition) {
  UniqueFd fd(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(fd.valid());
  ASSERT_EQ(ftruncate(fd.get(), 4096), 0);
  const auto segment = Segment::Map(std::move(fd), 4096, Access::kReadWrite, "plain file");
  EXPECT_EQ(segment.status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace retort::ring
