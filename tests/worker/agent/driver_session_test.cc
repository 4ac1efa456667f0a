#include "worker/agent/driver_session.h"

#include <signal.h>

#include <future>

#include "common/base/random_id.h"
#include "common/ring/host_identity.h"
#include "gtest/gtest.h"
#include "testing/fake_clock.h"
#include "testing/fake_driver.h"
#include "worker/agent/child_process.h"
#include "worker/agent/exit_code.h"
#include "worker/agent/test_paths.h"

namespace retort::worker {
namespace {

using ::retort::testing::FakeClock;
using ::retort::testing::FakeDriver;
using rpc::ConnectionId;
using rpc::MessageReceived;

class DriverSessionTest : public ::testing::Test {
 protected:
  struct Attached {
    std::unique_ptr<DriverSession> session;
    rpc::ConnectionOpened opened;
  };

  Attached Attach() {
    auto connecting = std::async(std::launch::async, [this] {
      return DriverSession::Connect({.driver_address = driver_->address(),
                                     .token = driver_->token(),
                                     .incarnation = RandomHex(16),
                                     .role = v1::ROLE_ROLLOUT,
                                     .index = 3,
                                     .host_identity = host_identity_,
                                     .clock = &clock_});
    });
    v1::Welcome welcome;
    welcome.set_job_id("job");
    rpc::ConnectionOpened opened = driver_->Welcome(welcome);
    auto session = connecting.get();
    EXPECT_TRUE(session.ok()) << session.status();
    return {*std::move(session), std::move(opened)};
  }
  // A process that attaches a session and takes commands until asked to stop.
  ChildProcess SpawnSession() {
    const std::string token_file = FreshPath("token");
    EXPECT_TRUE(driver_->token().WriteFile(token_file).ok());
    absl::StatusOr<ChildProcess> worker = ChildProcess::Spawn(
        {.arguments = {FakeWorkerPath(), "--failpoint=session", "--driver=" + driver_->address(),
                       "--token-file=" + token_file, "--incarnation=" + RandomHex(16)},
         .environment = {},
         .log_file = FreshPath("log")});
    EXPECT_TRUE(worker.ok()) << worker.status();
    return *std::move(worker);
  }
  void Send(ConnectionId connection, const std::function<void(v1::DriverMessage*)>& fill) {
    v1::DriverMessage message;
    fill(&message);
    driver_->Send(connection, message);
  }

  std::string host_identity_;
  FakeClock clock_;
  std::unique_ptr<FakeDriver> driver_ = std::make_unique<FakeDriver>();
};

TEST_F(DriverSessionTest, Connect_Hello_SaysWhoAndWhere) {
  const Attached attached = Attach();
  EXPECT_EQ(attached.opened.hello.role(), v1::ROLE_ROLLOUT);
  EXPECT_EQ(attached.opened.hello.index(), 3);
  EXPECT_EQ(attached.opened.hello.pid(), getpid());
  EXPECT_FALSE(attached.opened.hello.host().empty());
  EXPECT_EQ(attached.opened.hello.artifact_address().find("127.0.0.1:"), 0u);
  EXPECT_FALSE(attached.opened.hello.build().empty());
  EXPECT_EQ(attached.opened.hello.host_identity(), *ring::OwnHostIdentity());
  EXPECT_EQ(attached.session->host_identity(), attached.opened.hello.host_identity());
  EXPECT_EQ(attached.session->welcome().job_id(), "job");
}

TEST_F(DriverSessionTest, Connect_HostIdentityGiven_InHelloOrRefused) {
  host_identity_ = "container-7";
  EXPECT_EQ(Attach().opened.hello.host_identity(), "container-7");
  EXPECT_EQ(DriverSession::Connect({.driver_address = driver_->address(),
                                    .token = driver_->token(),
                                    .incarnation = RandomHex(16),
                                    .host_identity = "two words"})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DriverSessionTest, Connect_RemoteDriverWithoutListen_InvalidArgument) {
  EXPECT_EQ(DriverSession::Connect({.driver_address = "10.0.0.1:80",
                                    .token = driver_->token(),
                                    .incarnation = RandomHex(16)})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

// deploy/mpirun.sh and the driver start a worker again unless it ends with 2.
TEST_F(DriverSessionTest, Connect_RefusedByTheDriver_ExitTwoUnlessAnotherProcessMayDoBetter) {
  struct Case {
    absl::Status answer;
    int exit_code;
  };
  for (const Case& c : {Case{absl::FailedPreconditionError("run one build of both"), 2},
                        Case{absl::AbortedError("replaced by another process"), 1},
                        Case{absl::UnavailableError("the run ends"), 1}}) {
    SCOPED_TRACE(c.answer.ToString());
    ChildProcess worker = SpawnSession();
    const rpc::ConnectionOpened opened = driver_->Next<rpc::ConnectionOpened>();
    driver_->service().Close(opened.connection, c.answer);
    EXPECT_EQ(worker.Reap().exit_code, c.exit_code);
    driver_->Next<rpc::ConnectionClosed>();
  }
}

TEST_F(DriverSessionTest, Connect_WrongToken_ExitTwo) {
  const auto session = DriverSession::Connect({.driver_address = driver_->address(),
                                               .token = rpc::AccessToken::Generate(),
                                               .incarnation = RandomHex(16),
                                               .role = v1::ROLE_ROLLOUT});
  EXPECT_EQ(ExitCodeFor(session.status()), 2) << session.status();
}

TEST_F(DriverSessionTest, Fetch_FromAnotherWorkerAndFromItself_SameBytes) {
  const Attached holder = Attach();
  const Attached reader = Attach();
  const absl::StatusOr<v1::ArtifactRef> ref = holder.session->Hold(1, "rollout/train/1/0", "bytes");
  ASSERT_TRUE(ref.ok()) << ref.status();
  EXPECT_EQ(ref->address(), holder.opened.hello.artifact_address());
  EXPECT_EQ(ref->bytes(), 5);
  EXPECT_EQ(*reader.session->Fetch(*ref, absl::Seconds(30)), "bytes");
  EXPECT_EQ(*holder.session->Fetch(*ref, absl::Seconds(30)), "bytes");
  v1::ArtifactRef other = *ref;
  other.set_digest(std::string(32, '0'));
  EXPECT_EQ(holder.session->Fetch(other, absl::Seconds(30)).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(DriverSessionTest, ServeAlso_IdsWithThePrefix_ComeFromTheLookup) {
  const Attached holder = Attach();
  const Attached reader = Attach();
  ASSERT_TRUE(holder.session->Hold(1, "rollout/train/1/0", "held").ok());
  holder.session->ServeAlso(
      "weights-", [](const std::string& id) -> absl::StatusOr<rpc::ServedArtifact> {
        if (id != "weights-1") return absl::NotFoundError(id + " is not published");
        return rpc::ServedArtifact(std::make_shared<const std::string>("published"));
      });
  std::string got;
  rpc::ArtifactSink sink;
  sink.begin = [&got](int64_t) {
    got.clear();
    return absl::OkStatus();
  };
  sink.data = [&got](absl::string_view bytes) {
    got.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  };
  const auto stream = [&](const std::string& id) {
    return reader.session->Stream(holder.opened.hello.artifact_address(), id, absl::Seconds(30),
                                  sink);
  };
  ASSERT_TRUE(stream("weights-1").ok());
  EXPECT_EQ(got, "published");
  EXPECT_EQ(stream("weights-2").code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(stream("rollout/train/1/0").ok());
  EXPECT_EQ(got, "held");
}

TEST_F(DriverSessionTest, NextCommand_CommandsThenShutdown_InOrderThenNullopt) {
  const Attached attached = Attach();
  const ConnectionId to = attached.opened.connection;
  Send(to, [](auto* m) { m->mutable_export_model()->set_path("a"); });
  Send(to, [](auto* m) { m->mutable_write_checkpoint()->set_name("b"); });
  Send(to, [](auto* m) { m->mutable_shutdown()->set_reason("done"); });
  EXPECT_EQ((**attached.session->NextCommand()).export_model().path(), "a");
  EXPECT_EQ((**attached.session->NextCommand()).write_checkpoint().name(), "b");
  const auto end = attached.session->NextCommand();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_FALSE(end->has_value());
  EXPECT_TRUE(attached.session->stopping());
  EXPECT_EQ(attached.session->Finish(absl::OkStatus()), 0);
  EXPECT_TRUE(driver_->Next<rpc::ConnectionClosed>().status.ok());
}

TEST_F(DriverSessionTest, ReleaseArtifacts_Arrives_FreedAndNotReturned) {
  const Attached attached = Attach();
  ASSERT_TRUE(attached.session->Hold(1, "a", "one").ok());
  const v1::ArtifactRef kept = *attached.session->Hold(2, "b", "two");
  const v1::ArtifactRef freed = *attached.session->Hold(1, "a", "one");
  Send(attached.opened.connection,
       [](auto* m) { m->mutable_release_artifacts()->set_up_to_step(1); });
  Send(attached.opened.connection, [](auto* m) { m->mutable_export_model()->set_path("next"); });
  EXPECT_EQ((**attached.session->NextCommand()).export_model().path(), "next");
  EXPECT_EQ(attached.session->Fetch(freed, absl::Seconds(1)).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_TRUE(attached.session->Fetch(kept, absl::Seconds(1)).ok());
}

TEST_F(DriverSessionTest, DriverLost_NextCommandErrorAndStopping) {
  const Attached attached = Attach();
  driver_.reset();
  EXPECT_EQ(attached.session->NextCommand().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(attached.session->stopping());
  EXPECT_EQ(attached.session->Finish(absl::UnavailableError("lost")), 1);
}

TEST_F(DriverSessionTest, ArrivalHook_CommandAndStop_CalledBeforeNextCommand) {
  const Attached attached = Attach();
  std::atomic<int> commands{0};
  std::atomic<int> stops{0};
  attached.session->SetArrivalHook(
      [&](const v1::DriverMessage* m) { ++(m == nullptr ? stops : commands); });
  Send(attached.opened.connection, [](auto* m) { m->mutable_form_group(); });
  Send(attached.opened.connection, [](auto* m) { m->mutable_shutdown(); });
  ASSERT_TRUE((*attached.session->NextCommand()).has_value());
  EXPECT_GE(commands, 1);
  ASSERT_FALSE((*attached.session->NextCommand()).has_value());
  EXPECT_EQ(commands, 1);
  EXPECT_EQ(stops, 1);
  std::atomic<int> late{0};
  attached.session->SetArrivalHook([&](const v1::DriverMessage* m) { late += m == nullptr; });
  EXPECT_EQ(late, 1);
  attached.session->SetArrivalHook(nullptr);
}

TEST_F(DriverSessionTest, ReportProgress_MoreOftenThanTheInterval_Dropped) {
  const Attached attached = Attach();
  v1::Fence fence;
  fence.set_step(4);
  attached.session->ReportProgress(fence, 1);
  attached.session->ReportProgress(fence, 2);
  clock_.Advance(absl::Milliseconds(499));
  attached.session->ReportProgress(fence, 3);
  clock_.Advance(absl::Milliseconds(1));
  attached.session->ReportProgress(fence, 4);
  const v1::Progress first = driver_->Next<MessageReceived>().message.progress();
  EXPECT_EQ(first.units_done(), 1);
  EXPECT_EQ(first.fence().step(), 4);
  EXPECT_EQ(driver_->Next<MessageReceived>().message.progress().units_done(), 4);
}

TEST_F(DriverSessionTest, Ready_DriverHearsIt) {
  const Attached attached = Attach();
  ASSERT_TRUE(attached.session->Ready().ok());
  EXPECT_TRUE(driver_->Next<MessageReceived>().message.has_worker_ready());
}

// A unit can be one micro-batch of minutes.
TEST_F(DriverSessionTest, CommandIsComputedOn_ProgressInsideAUnit) {
  const Attached attached = Attach();
  Send(attached.opened.connection, [](auto* m) {
    m->mutable_score_lease()->mutable_fence()->set_step(4);
    m->mutable_score_lease()->mutable_fence()->set_attempt(2);
  });
  ASSERT_TRUE((*attached.session->NextCommand()).has_value());
  auto heard = std::async(std::launch::async, [this] {
    const v1::Progress earlier = driver_->Next<MessageReceived>().message.progress();
    return std::make_pair(earlier, driver_->Next<MessageReceived>().message.progress());
  });
  while (heard.wait_for(std::chrono::seconds(0)) != std::future_status::ready) continue;
  const auto [first, second] = heard.get();
  EXPECT_EQ(first.fence().step(), 4);
  EXPECT_EQ(first.fence().attempt(), 2);
  EXPECT_EQ(first.units_done(), 0);
  EXPECT_GT(first.busy_ms(), 0);
  EXPECT_GT(second.busy_ms(), first.busy_ms());
}

TEST_F(DriverSessionTest, ReportFailure_BinaryText_ArrivesAsUtf8) {
  const Attached attached = Attach();
  ASSERT_TRUE(attached.session->ReportFailure({}, absl::DataLossError("bad \xff byte")).ok());
  const v1::WorkFailed failed = driver_->Next<MessageReceived>().message.work_failed();
  EXPECT_EQ(failed.message(), "bad ? byte");
  EXPECT_EQ(failed.code(), static_cast<int>(absl::StatusCode::kDataLoss));
}

TEST_F(DriverSessionTest, Finish_Twice_SameCode) {
  const Attached attached = Attach();
  EXPECT_EQ(attached.session->Finish(absl::InvalidArgumentError("x")), 2);
  EXPECT_EQ(attached.session->Finish(absl::InvalidArgumentError("x")), 2);
}

TEST_F(DriverSessionTest, Sigterm_WaitingNextCommand_GoodbyeAndExitZero) {
  ChildProcess worker = SpawnSession();
  driver_->Welcome();
  ASSERT_TRUE(
      driver_->Next<MessageReceived>().message.has_progress());  // It has heard the welcome.
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Reap().exit_code, 0);
  EXPECT_TRUE(driver_->Next<rpc::ConnectionClosed>().status.ok());
}

TEST_F(DriverSessionTest, Sigterm_BeforeWelcome_EndsAtOnce) {
  ChildProcess worker = SpawnSession();
  driver_->Next<rpc::ConnectionOpened>();
  worker.Signal(SIGTERM);
  driver_->Next<rpc::ConnectionClosed>();  // Fails after 30 s, half of the welcome deadline.
  EXPECT_EQ(worker.Reap().exit_code, 1);
}

}  // namespace
}  // namespace retort::worker
