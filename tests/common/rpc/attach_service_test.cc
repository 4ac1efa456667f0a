#include "common/rpc/attach_service.h"

#include <thread>

#include "common/base/random_id.h"
#include "common/rpc/attach_client.h"
#include "common/rpc/channel.h"
#include "grpcpp/support/sync_stream.h"
#include "gtest/gtest.h"
#include "retort/v1/control.grpc.pb.h"
#include "testing/fake_driver.h"

namespace retort::rpc {
namespace {

using ::retort::testing::FakeDriver;

v1::WorkerMessage HelloMessage() {
  v1::WorkerMessage message;
  message.mutable_hello()->set_incarnation(RandomHex(16));
  message.mutable_hello()->set_role(v1::ROLE_ROLLOUT);
  return message;
}

v1::WorkerMessage ProgressMessage(int64_t units) {
  v1::WorkerMessage message;
  message.mutable_progress()->set_units_done(units);
  return message;
}

v1::DriverMessage CommandOfBytes(size_t bytes) {
  v1::DriverMessage message;
  message.mutable_export_model()->set_path(std::string(bytes, 'p'));
  return message;
}

// A worker's end with the synchronous API, which does only what the test says.
class RawWorker {
 public:
  explicit RawWorker(const FakeDriver& driver, bool say_hello = true)
      : stub_(v1::DriverService::NewStub(*MakeChannel(driver.address(), {}))) {
    PrepareCall(driver.token(), absl::Seconds(60), &context_);
    stream_ = stub_->Attach(&context_);
    if (say_hello) stream_->Write(HelloMessage());  // False if the driver has refused already.
  }
  ~RawWorker() {
    if (finished_) return;
    context_.TryCancel();
    stream_->Finish();
  }
  bool Write(const v1::WorkerMessage& message) { return stream_->Write(message); }
  void WritesDone() { stream_->WritesDone(); }
  bool Read(v1::DriverMessage* message) { return stream_->Read(message); }
  void Cancel() { context_.TryCancel(); }
  // Reads to the end; the status that the driver gave.
  grpc::Status End() {
    v1::DriverMessage message;
    while (stream_->Read(&message)) {
    }
    finished_ = true;
    return stream_->Finish();
  }

 private:
  std::unique_ptr<v1::DriverService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::DriverMessage>> stream_;
  bool finished_ = false;
};

TEST(AttachServiceTest, Hello_WellFormed_Opened) {
  FakeDriver driver;
  RawWorker worker(driver);
  const ConnectionOpened opened = driver.Next<ConnectionOpened>();
  EXPECT_EQ(opened.connection, 1u);
  EXPECT_EQ(opened.hello.role(), v1::ROLE_ROLLOUT);
  EXPECT_GT(opened.bytes, 32);
  EXPECT_FALSE(opened.peer.empty());
}

TEST(AttachServiceTest, Messages_ManyOnOneConnection_InOrderWithTheirBytes) {
  FakeDriver driver;
  RawWorker worker(driver);
  const ConnectionId connection = driver.Next<ConnectionOpened>().connection;
  for (int i = 1; i <= 200; ++i) ASSERT_TRUE(worker.Write(ProgressMessage(i)));
  for (int i = 1; i <= 200; ++i) {
    const MessageReceived received = driver.Next<MessageReceived>();
    ASSERT_EQ(received.connection, connection);
    ASSERT_EQ(received.message.progress().units_done(), i);
    ASSERT_EQ(received.bytes, static_cast<int64_t>(ProgressMessage(i).ByteSizeLong()));
  }
}

TEST(AttachServiceTest, FirstMessage_NotHello_InvalidArgument) {
  FakeDriver driver;
  RawWorker worker(driver, /*say_hello=*/false);
  ASSERT_TRUE(worker.Write(ProgressMessage(1)));
  EXPECT_EQ(worker.End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(driver.NothingWithin(absl::ZeroDuration()));
}

TEST(AttachServiceTest, Hello_OutOfBounds_InvalidArgument) {
  const std::function<void(v1::Hello*)> damages[] = {
      [](v1::Hello* h) { h->set_incarnation("short"); },
      [](v1::Hello* h) { h->set_incarnation(std::string(32, 'G')); },
      [](v1::Hello* h) { h->set_role(static_cast<v1::Role>(77)); },
      [](v1::Hello* h) { h->set_role(v1::ROLE_UNSPECIFIED); },
      [](v1::Hello* h) { h->set_index(-1); },
      [](v1::Hello* h) { h->set_host(std::string(257, 'h')); },
      [](v1::Hello* h) { h->set_artifact_address(std::string(257, 'h')); },
      [](v1::Hello* h) { h->set_build(std::string(257, 'h')); },
      [](v1::Hello* h) { h->set_mpi_rank(0); },
      [](v1::Hello* h) {
        h->set_mpi_rank(2);
        h->set_mpi_world_size(2);
      },
      [](v1::Hello* h) {
        h->set_mpi_rank(-1);
        h->set_mpi_world_size(2);
      },
  };
  FakeDriver driver;
  for (const auto& damage : damages) {
    RawWorker worker(driver, /*say_hello=*/false);
    v1::WorkerMessage hello = HelloMessage();
    damage(hello.mutable_hello());
    ASSERT_TRUE(worker.Write(hello));
    EXPECT_EQ(worker.End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_TRUE(driver.NothingWithin(absl::ZeroDuration()));
}

TEST(AttachServiceTest, SecondHelloOrUnknownKind_InvalidArgumentAndClosed) {
  for (const v1::WorkerMessage& second : {HelloMessage(), v1::WorkerMessage()}) {
    FakeDriver driver;
    RawWorker worker(driver);
    driver.Next<ConnectionOpened>();
    ASSERT_TRUE(worker.Write(second));
    EXPECT_EQ(worker.End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(driver.Next<ConnectionClosed>().status.code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(AttachServiceTest, NoHello_DeadlineExceeded) {
  FakeDriver driver({.hello_deadline = absl::Milliseconds(50)});
  RawWorker worker(driver, /*say_hello=*/false);
  EXPECT_EQ(worker.End().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST(AttachServiceTest, Goodbye_ClosedOk) {
  FakeDriver driver;
  RawWorker worker(driver);
  const ConnectionId connection = driver.Next<ConnectionOpened>().connection;
  worker.WritesDone();
  EXPECT_TRUE(worker.End().ok());
  const ConnectionClosed closed = driver.Next<ConnectionClosed>();
  EXPECT_EQ(closed.connection, connection);
  EXPECT_TRUE(closed.status.ok()) << closed.status;
}

TEST(AttachServiceTest, WorkerVanishes_ClosedUnavailable) {
  FakeDriver driver;
  RawWorker worker(driver);
  driver.Next<ConnectionOpened>();
  worker.Cancel();
  EXPECT_EQ(driver.Next<ConnectionClosed>().status.code(), absl::StatusCode::kUnavailable);
}

TEST(AttachServiceTest, Send_GoneConnection_NotFound) {
  FakeDriver driver;
  EXPECT_EQ(driver.service().Send(7, {}).code(), absl::StatusCode::kNotFound);
  driver.service().Close(7, absl::OkStatus());  // Nothing happens.
}

TEST(AttachServiceTest, CloseOk_AfterSends_EverythingArrivesFirst) {
  FakeDriver driver;
  RawWorker worker(driver);
  const ConnectionId connection = driver.Next<ConnectionOpened>().connection;
  for (int i = 0; i < 50; ++i) driver.Send(connection, CommandOfBytes(1000));
  driver.service().Close(connection, absl::OkStatus());
  EXPECT_EQ(driver.service().Send(connection, {}).ok(), false);
  v1::DriverMessage message;
  int received = 0;
  while (worker.Read(&message)) ++received;
  EXPECT_EQ(received, 50);
  EXPECT_TRUE(worker.End().ok());
  EXPECT_TRUE(driver.Next<ConnectionClosed>().status.ok());
}

TEST(AttachServiceTest, CloseError_WorkerAndSinkSeeIt) {
  FakeDriver driver;
  RawWorker worker(driver);
  const ConnectionId connection = driver.Next<ConnectionOpened>().connection;
  driver.service().Close(connection, absl::AbortedError("replaced by a newer incarnation"));
  const grpc::Status status = worker.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "replaced by a newer incarnation");
  EXPECT_EQ(driver.Next<ConnectionClosed>().status.code(), absl::StatusCode::kAborted);
}

TEST(AttachServiceTest, Close_PeerDoesNotRead_GoneAfterGrace) {
  FakeDriver driver({.close_grace = absl::Milliseconds(50)});
  RawWorker worker(driver);
  const ConnectionId connection = driver.Next<ConnectionOpened>().connection;
  for (int i = 0; i < 8; ++i) driver.Send(connection, CommandOfBytes(4 << 20));
  driver.service().Close(connection, absl::OkStatus());
  driver.Next<ConnectionClosed>();
}

TEST(AttachServiceTest, Send_SlowReader_ResourceExhausted) {
  FakeDriver driver({.max_buffered_bytes = 8 << 20});
  RawWorker worker(driver);
  const ConnectionId connection = driver.Next<ConnectionOpened>().connection;
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    status = driver.service().Send(connection, CommandOfBytes(1 << 20));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

TEST(AttachServiceTest, Send_AboveTheCommandLimit_ResourceExhausted) {
  FakeDriver driver;
  RawWorker worker(driver);
  const ConnectionId connection = driver.Next<ConnectionOpened>().connection;
  EXPECT_EQ(driver.service().Send(connection, CommandOfBytes(kMaxCommandBytes)).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(AttachServiceTest, Receive_AboveTheMessageLimit_ConnectionOver) {
  FakeDriver driver;
  RawWorker worker(driver);
  driver.Next<ConnectionOpened>();
  v1::WorkerMessage huge;
  huge.mutable_work_failed()->set_message(std::string(kMaxControlMessageBytes, 'm'));
  worker.Write(huge);
  EXPECT_FALSE(worker.End().ok());
  EXPECT_FALSE(driver.Next<ConnectionClosed>().status.ok());
}

TEST(AttachServiceTest, MaxConnections_OneMore_ResourceExhausted) {
  FakeDriver driver({.max_connections = 1});
  RawWorker first(driver);
  driver.Next<ConnectionOpened>();
  RawWorker second(driver);
  EXPECT_EQ(second.End().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(AttachServiceTest, Shutdown_OpenSilentAndUnreadConnections_Returns) {
  FakeDriver driver;
  RawWorker open(driver);
  const ConnectionId unread = driver.Next<ConnectionOpened>().connection;
  for (int i = 0; i < 8; ++i) driver.Send(unread, CommandOfBytes(4 << 20));
  RawWorker silent(driver, /*say_hello=*/false);
  const absl::Duration begin = Clock::Real()->Now();
  driver.Stop(absl::Milliseconds(200));
  EXPECT_LT(Clock::Real()->Now() - begin, absl::Seconds(20));
  EXPECT_FALSE(driver.Next<ConnectionClosed>().status.ok());
}

TEST(AttachServiceTest, SinkSendsAndCloses_NoDeadlock) {
  const AccessToken token = AccessToken::Generate();
  AttachService* service = nullptr;
  const auto owned = AttachService::Make(token, [&service](AttachEvent event) {
    if (const auto* opened = std::get_if<ConnectionOpened>(&event)) {
      EXPECT_TRUE(service->Send(opened->connection, CommandOfBytes(10)).ok());
      service->Close(opened->connection, absl::AbortedError("enough"));
    }
  });
  service = owned.get();
  const auto server = *Server::Start({.services = {service}});
  const auto stub = v1::DriverService::NewStub(*MakeChannel(server->address(), {}));
  grpc::ClientContext context;
  PrepareCall(token, absl::Seconds(30), &context);
  const auto stream = stub->Attach(&context);
  ASSERT_TRUE(stream->Write(HelloMessage()));
  v1::DriverMessage message;
  while (stream->Read(&message)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::ABORTED);
}

}  // namespace
}  // namespace retort::rpc
