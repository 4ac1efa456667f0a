#include "common/rpc/attach_client.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <future>
#include <thread>

#include "common/base/random_id.h"
#include "common/base/unique_fd.h"
#include "common/rpc/channel.h"
#include "gtest/gtest.h"
#include "testing/fake_driver.h"

namespace retort::rpc {
namespace {

using ::retort::testing::FakeDriver;

AttachClientOptions OptionsFor(const std::string& address) {
  AttachClientOptions options;
  options.channel = *MakeChannel(address, {});
  options.hello.set_incarnation(RandomHex(16));
  options.hello.set_role(v1::ROLE_SCORER);
  return options;
}

v1::WorkerMessage ProgressMessage(int64_t units) {
  v1::WorkerMessage message;
  message.mutable_progress()->set_units_done(units);
  return message;
}

v1::DriverMessage ExportTo(const std::string& path) {
  v1::DriverMessage message;
  message.mutable_export_model()->set_path(path);
  return message;
}

struct Attached {
  std::unique_ptr<AttachClient> client;
  ConnectionId connection;
};

Attached AttachTo(FakeDriver& driver, AttachClientOptions options) {
  auto connecting = std::async(std::launch::async, [&] {
    return AttachClient::Connect(driver.token(), std::move(options));
  });
  v1::Welcome welcome;
  welcome.set_job_id("job");
  const ConnectionId connection = driver.Welcome(welcome).connection;
  auto client = connecting.get();
  EXPECT_TRUE(client.ok()) << client.status();
  return {*std::move(client), connection};
}

TEST(AttachClientTest, Connect_Welcomed_WelcomeIsKept) {
  FakeDriver driver;
  const Attached attached = AttachTo(driver, OptionsFor(driver.address()));
  EXPECT_EQ(attached.client->welcome().job_id(), "job");
}

TEST(AttachClientTest, Connect_WrongToken_Unauthenticated) {
  FakeDriver driver;
  EXPECT_EQ(
      AttachClient::Connect(AccessToken::Generate(), OptionsFor(driver.address())).status().code(),
      absl::StatusCode::kUnauthenticated);
}

TEST(AttachClientTest, Connect_Refused_TheDriversError) {
  FakeDriver driver;
  auto connecting = std::async(std::launch::async, [&] {
    return AttachClient::Connect(driver.token(), OptionsFor(driver.address())).status();
  });
  driver.service().Close(driver.Next<ConnectionOpened>().connection,
                         absl::FailedPreconditionError("the plan has no place for this worker"));
  const absl::Status status = connecting.get();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "driver: the plan has no place for this worker");
}

TEST(AttachClientTest, Connect_FirstMessageNoWelcome_Internal) {
  FakeDriver driver;
  auto connecting = std::async(std::launch::async, [&] {
    return AttachClient::Connect(driver.token(), OptionsFor(driver.address())).status();
  });
  driver.Send(driver.Next<ConnectionOpened>().connection, ExportTo("x"));
  EXPECT_EQ(connecting.get().code(), absl::StatusCode::kInternal);
}

TEST(AttachClientTest, Connect_NobodyListens_DeadlineExceeded) {
  AttachClientOptions options = OptionsFor("127.0.0.1:1");
  options.welcome_deadline = absl::Milliseconds(100);
  EXPECT_EQ(AttachClient::Connect(AccessToken::Generate(), std::move(options)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(AttachClientTest, Connect_DriverStartsLater_Connects) {
  std::string address;
  const AccessToken token = AccessToken::Generate();
  {
    FakeDriver earlier({}, token);
    address = earlier.address();
  }
  auto connecting = std::async(std::launch::async,
                               [&] { return AttachClient::Connect(token, OptionsFor(address)); });
  const auto service = AttachService::Make(token, [](AttachEvent) {});
  EventQueue<AttachEvent> events;
  const auto later = AttachService::Make(token, [&](AttachEvent e) { events.Push(std::move(e)); });
  const auto server = Server::Start({.listen = address, .services = {later.get()}});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto event = events.Pop(absl::Seconds(30));
  ASSERT_TRUE(event.has_value());
  v1::DriverMessage welcome;
  welcome.mutable_welcome();
  ASSERT_TRUE(later->Send(std::get<ConnectionOpened>(*event).connection, welcome).ok());
  EXPECT_TRUE(connecting.get().ok());
}

TEST(AttachClientTest, Pop_ManyCommands_InOrder) {
  FakeDriver driver;
  const Attached attached = AttachTo(driver, OptionsFor(driver.address()));
  for (int i = 0; i < 100; ++i) driver.Send(attached.connection, ExportTo(std::to_string(i)));
  for (int i = 0; i < 100; ++i) {
    const absl::StatusOr<v1::DriverMessage> message = attached.client->Pop(absl::Seconds(30));
    ASSERT_TRUE(message.ok()) << message.status();
    ASSERT_EQ(message->export_model().path(), std::to_string(i));
  }
  EXPECT_EQ(attached.client->Pop(absl::ZeroDuration()).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(AttachClientTest, Send_FromManyThreads_AllArrive) {
  FakeDriver driver;
  const Attached attached = AttachTo(driver, OptionsFor(driver.address()));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) ASSERT_TRUE(attached.client->Send(ProgressMessage(1)).ok());
    });
  }
  int64_t units = 0;
  for (int i = 0; i < 400; ++i)
    units += driver.Next<MessageReceived>().message.progress().units_done();
  EXPECT_EQ(units, 400);
  for (std::thread& thread : threads) thread.join();
}

TEST(AttachClientTest, Send_DriverDoesNotTakeIt_ResourceExhaustedWithoutBlocking) {
  // A sink that blocks is a driver that does not read.
  const AccessToken token = AccessToken::Generate();
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  AttachService* service = nullptr;
  const auto owned = AttachService::Make(token, [&](AttachEvent event) {
    if (const auto* opened = std::get_if<ConnectionOpened>(&event)) {
      v1::DriverMessage welcome;
      welcome.mutable_welcome();
      EXPECT_TRUE(service->Send(opened->connection, welcome).ok());
    } else if (std::holds_alternative<MessageReceived>(event)) {
      released.wait();
    }
  });
  service = owned.get();
  const auto server = *Server::Start({.services = {service}});
  AttachClientOptions options = OptionsFor(server->address());
  options.max_buffered_bytes = 4 << 20;
  const auto client = AttachClient::Connect(token, std::move(options));
  ASSERT_TRUE(client.ok()) << client.status();
  v1::WorkerMessage large;
  large.mutable_work_failed()->set_message(std::string(1 << 20, 'm'));
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) status = (*client)->Send(large);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  release.set_value();
}

TEST(AttachClientTest, Send_TooLarge_ResourceExhaustedAndStreamLives) {
  FakeDriver driver;
  const Attached attached = AttachTo(driver, OptionsFor(driver.address()));
  v1::WorkerMessage huge;
  huge.mutable_work_failed()->set_message(std::string(kMaxControlMessageBytes, 'm'));
  EXPECT_EQ(attached.client->Send(huge).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(attached.client->Send(ProgressMessage(3)).ok());
  EXPECT_EQ(driver.Next<MessageReceived>().message.progress().units_done(), 3);
}

TEST(AttachClientTest, Finish_AfterSends_EverythingArrivesThenClosedOk) {
  FakeDriver driver;
  const Attached attached = AttachTo(driver, OptionsFor(driver.address()));
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(attached.client->Send(ProgressMessage(i)).ok());
  EXPECT_TRUE(attached.client->Finish(absl::Seconds(30)).ok());
  EXPECT_TRUE(attached.client->Finish(absl::Seconds(30)).ok());
  EXPECT_FALSE(attached.client->Send(ProgressMessage(1)).ok());
  for (int i = 0; i < 50; ++i) driver.Next<MessageReceived>();
  EXPECT_TRUE(driver.Next<ConnectionClosed>().status.ok());
}

TEST(AttachClientTest, DriverCloses_PopGivesTheRestThenTheError) {
  FakeDriver driver;
  const Attached attached = AttachTo(driver, OptionsFor(driver.address()));
  driver.Send(attached.connection, ExportTo("last"));
  EXPECT_TRUE(attached.client->Pop(absl::Seconds(30)).ok());
  driver.service().Close(attached.connection, absl::AbortedError("the epoch is over"));
  EXPECT_EQ(attached.client->Pop(absl::Seconds(30)).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(attached.client->ended());
  EXPECT_EQ(attached.client->Send(ProgressMessage(1)).code(), absl::StatusCode::kAborted);
}

TEST(AttachClientTest, DriverDies_PopUnavailable) {
  auto driver = std::make_unique<FakeDriver>();
  const Attached attached = AttachTo(*driver, OptionsFor(driver->address()));
  driver.reset();
  EXPECT_EQ(attached.client->Pop(absl::Seconds(30)).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(AttachClientTest, Cancel_WaitingPop_Cancelled) {
  FakeDriver driver;
  const Attached attached = AttachTo(driver, OptionsFor(driver.address()));
  auto popping = std::async(std::launch::async,
                            [&] { return attached.client->Pop(absl::Seconds(30)).status(); });
  attached.client->Cancel();
  EXPECT_EQ(popping.get().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(driver.Next<ConnectionClosed>().status.code(), absl::StatusCode::kUnavailable);
}

TEST(AttachClientTest, StopWaiting_QueueFirstThenCancelled) {
  FakeDriver driver;
  const Attached attached = AttachTo(driver, OptionsFor(driver.address()));
  auto popping = std::async(std::launch::async,
                            [&] { return attached.client->Pop(absl::Seconds(30)).status(); });
  attached.client->StopWaiting();
  EXPECT_EQ(popping.get().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(attached.client->Send(ProgressMessage(1)).ok());
  driver.Next<MessageReceived>();
}

TEST(AttachClientTest, OnArrival_CommandsAndTheEnd_BeforePop) {
  FakeDriver driver;
  std::atomic<int> arrived{0};
  std::atomic<int> ended{0};
  AttachClientOptions options = OptionsFor(driver.address());
  options.on_arrival = [&](const v1::DriverMessage* message) {
    ++(message == nullptr ? ended : arrived);
  };
  const Attached attached = AttachTo(driver, std::move(options));
  driver.Send(attached.connection, ExportTo("x"));
  ASSERT_TRUE(attached.client->Pop(absl::Seconds(30)).ok());
  EXPECT_EQ(arrived, 1);
  EXPECT_EQ(ended, 0);
  driver.service().Close(attached.connection, absl::OkStatus());
  EXPECT_EQ(attached.client->Pop(absl::Seconds(30)).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(ended, 1);
}

TEST(AttachClientTest, NotifyFd_CommandAndEnd_PopHasItWhenReadable) {
  FakeDriver driver;
  const UniqueFd notify(eventfd(0, EFD_CLOEXEC));
  AttachClientOptions options = OptionsFor(driver.address());
  options.notify_fd = notify.get();
  const Attached attached = AttachTo(driver, std::move(options));
  pollfd fd = {notify.get(), POLLIN, 0};
  eventfd_t count;
  ASSERT_EQ(poll(&fd, 1, 0), 1);  // The Welcome.
  ASSERT_EQ(eventfd_read(notify.get(), &count), 0);
  driver.Send(attached.connection, ExportTo("x"));
  ASSERT_EQ(poll(&fd, 1, 30000), 1);
  ASSERT_EQ(eventfd_read(notify.get(), &count), 0);
  EXPECT_TRUE(attached.client->Pop(absl::ZeroDuration()).ok());
  driver.service().Close(attached.connection, absl::AbortedError("over"));
  ASSERT_EQ(poll(&fd, 1, 30000), 1);
  EXPECT_EQ(attached.client->Pop(absl::ZeroDuration()).status().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace retort::rpc
