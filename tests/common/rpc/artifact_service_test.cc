#include "common/rpc/artifact_service.h"

#include <algorithm>
#include <functional>
#include <thread>

#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/mutex.h"
#include "common/rpc/artifact_fetch.h"
#include "common/rpc/channel.h"
#include "gmock/gmock.h"
#include "grpcpp/server_builder.h"
#include "retort/v1/artifact.grpc.pb.h"

namespace retort::rpc {
namespace {

using ::testing::HasSubstr;
using Bytes = std::shared_ptr<const std::string>;

// Bytes that differ everywhere, so that a lost or repeated chunk shows.
std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  uint32_t state = 1;
  for (char& c : bytes) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(state >> 24);
  }
  return bytes;
}

v1::ArtifactRef RefTo(const std::string& address, absl::string_view bytes) {
  v1::ArtifactRef ref;
  ref.set_artifact_id("a");
  ref.set_address(address);
  ref.set_digest(DigestOf(bytes).ToHex());
  ref.set_bytes(static_cast<int64_t>(bytes.size()));
  return ref;
}

class ArtifactServiceTest : public ::testing::Test {
 protected:
  void Serve(std::string bytes, const ArtifactServiceOptions& options = {}) {
    server_.reset();
    bytes_ = std::make_shared<const std::string>(std::move(bytes));
    service_ = MakeArtifactService(
        token_,
        [this](const std::string& id) -> absl::StatusOr<Bytes> {
          if (id != "a") return absl::NotFoundError("artifact " + id + " is not held here");
          return bytes_;
        },
        options);
    server_ = *Server::Start({.services = {service_.get()}});
  }
  v1::ArtifactRef Ref() const { return RefTo(server_->address(), *bytes_); }
  absl::StatusOr<std::string> Fetch(const v1::ArtifactRef& ref) {
    return FetchArtifact(ref, channels_, absl::Seconds(30));
  }
  // What a stream brought.
  struct Taken {
    int64_t announced = -1;
    std::string bytes;
    int64_t refuse_after = int64_t{1} << 40;
  };
  absl::Status Stream(const std::string& address, Taken* taken) {
    ArtifactSink sink;
    sink.begin = [taken](int64_t total) {
      taken->announced = total;
      return absl::OkStatus();
    };
    sink.data = [taken](absl::string_view bytes) {
      taken->bytes.append(bytes.data(), bytes.size());
      const bool enough = static_cast<int64_t>(taken->bytes.size()) > taken->refuse_after;
      return enough ? absl::CancelledError("enough") : absl::OkStatus();
    };
    return StreamArtifact(address, "a", channels_, absl::Seconds(30), sink);
  }
  absl::StatusCode CodeOf(const v1::ArtifactRef& ref) { return Fetch(ref).status().code(); }

  const AccessToken token_ = AccessToken::Generate();
  Bytes bytes_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<Server> server_;
  ChannelCache channels_{token_, {}};
};

TEST_F(ArtifactServiceTest, Fetch_AnySize_SameBytes) {
  const size_t mib = kArtifactChunkBytes;
  for (const size_t size : {size_t{0}, size_t{1}, mib - 1, mib, mib + 1, 5 * mib, 17 * mib + 3}) {
    Serve(Pattern(size));
    const absl::StatusOr<std::string> fetched = Fetch(Ref());
    ASSERT_TRUE(fetched.ok()) << fetched.status();
    EXPECT_TRUE(*fetched == *bytes_) << size;
  }
}

TEST_F(ArtifactServiceTest, Fetch_ManyAtOnce_AllArrive) {
  Serve(Pattern(3 << 20));
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this] {
      const absl::StatusOr<std::string> fetched = Fetch(Ref());
      ASSERT_TRUE(fetched.ok()) << fetched.status();
      EXPECT_TRUE(*fetched == *bytes_);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ArtifactServiceTest, Fetch_UnknownArtifact_NotFoundNamesIt) {
  Serve("hello");
  v1::ArtifactRef ref = Ref();
  ref.set_artifact_id("gone");
  const absl::Status status = Fetch(ref).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(status.message().find("gone"), absl::string_view::npos);
}

TEST_F(ArtifactServiceTest, Fetch_WrongToken_Unauthenticated) {
  Serve("hello");
  ChannelCache strangers(AccessToken::Generate(), {});
  EXPECT_EQ(FetchArtifact(Ref(), strangers, absl::Seconds(30)).status().code(),
            absl::StatusCode::kUnauthenticated);
}

TEST_F(ArtifactServiceTest, Fetch_WrongSizeOrDigest_DataLoss) {
  Serve("hello");
  v1::ArtifactRef smaller = Ref();
  smaller.set_bytes(4);
  EXPECT_EQ(CodeOf(smaller), absl::StatusCode::kDataLoss);
  v1::ArtifactRef larger = Ref();
  larger.set_bytes(int64_t{4} << 30);
  EXPECT_EQ(CodeOf(larger), absl::StatusCode::kDataLoss);
  v1::ArtifactRef other = Ref();
  other.set_digest(DigestOf("hellO").ToHex());
  EXPECT_EQ(CodeOf(other), absl::StatusCode::kDataLoss);
}

TEST_F(ArtifactServiceTest, Fetch_MalformedRef_InvalidArgument) {
  Serve("hello");
  const std::function<void(v1::ArtifactRef*)> damages[] = {
      [](v1::ArtifactRef* ref) { ref->clear_artifact_id(); },
      [](v1::ArtifactRef* ref) { ref->set_artifact_id(std::string(129, 'i')); },
      [](v1::ArtifactRef* ref) { ref->set_bytes(-1); },
      [](v1::ArtifactRef* ref) { ref->set_bytes((int64_t{4} << 30) + 1); },
      [](v1::ArtifactRef* ref) { ref->set_digest("12"); },
      [](v1::ArtifactRef* ref) { ref->set_address("nowhere"); },
  };
  for (const auto& damage : damages) {
    v1::ArtifactRef ref = Ref();
    damage(&ref);
    EXPECT_EQ(CodeOf(ref), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(ArtifactServiceTest, Fetch_NobodyListens_Unavailable) {
  Serve("hello");
  const v1::ArtifactRef ref = Ref();
  server_->Shutdown(absl::Seconds(1));
  EXPECT_EQ(CodeOf(ref), absl::StatusCode::kUnavailable);
}

TEST_F(ArtifactServiceTest, Fetch_AfterTheHolderCameBack_NoBackoff) {
  Serve("hello");
  const v1::ArtifactRef ref = Ref();
  server_->Shutdown(absl::Seconds(1));
  ASSERT_EQ(CodeOf(ref), absl::StatusCode::kUnavailable);
  service_ = MakeArtifactService(
      token_, [this](const std::string&) { return absl::StatusOr<Bytes>(bytes_); });
  server_ = *Server::Start({.listen = ref.address(), .services = {service_.get()}});
  EXPECT_TRUE(Fetch(ref).ok());
}

TEST_F(ArtifactServiceTest, Stream_HolderCannotReadOn_ItsStatusArrives) {
  service_ = MakeArtifactService(token_, [](const std::string&) -> absl::StatusOr<ServedArtifact> {
    ServedArtifact artifact;
    artifact.bytes = 3 * kArtifactChunkBytes;
    artifact.read = [](int64_t offset, absl::Span<char> out) -> absl::Status {
      if (offset > 0) return absl::AbortedError("overwritten");
      std::fill(out.begin(), out.end(), 'x');
      return absl::OkStatus();
    };
    return artifact;
  });
  server_ = *Server::Start({.services = {service_.get()}});
  Taken taken;
  const absl::Status status = Stream(server_->address(), &taken);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("artifact a of 127.0.0.1:"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("overwritten"));
  EXPECT_EQ(taken.announced, 3 * kArtifactChunkBytes);
  EXPECT_TRUE(taken.bytes == std::string(kArtifactChunkBytes, 'x'));
}

TEST_F(ArtifactServiceTest, Stream_SinkRefuses_ItsStatusEndsTheCall) {
  Serve(Pattern(5 << 20));
  Taken taken;
  taken.refuse_after = kArtifactChunkBytes;
  EXPECT_EQ(Stream(server_->address(), &taken).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(taken.bytes.size(), static_cast<size_t>(2 * kArtifactChunkBytes));
  EXPECT_TRUE(Fetch(Ref()).ok()) << "the next call is not disturbed";
}

// Raw calls, for what FetchArtifact never does.
class RawFetch {
 public:
  RawFetch(const std::string& address, const AccessToken& token, absl::Duration deadline)
      : stub_(v1::ArtifactService::NewStub(*MakeChannel(address, {}))) {
    PrepareCall(token, deadline, &context_);
    v1::FetchRequest request;
    request.set_artifact_id("a");
    reader_ = stub_->Fetch(&context_, request);
  }
  bool Read() { return reader_->Read(&chunk_); }
  const v1::FetchChunk& chunk() const { return chunk_; }
  grpc::Status Finish() { return reader_->Finish(); }

 private:
  std::unique_ptr<v1::ArtifactService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::FetchChunk>> reader_;
  v1::FetchChunk chunk_;
};

TEST_F(ArtifactServiceTest, Fetch_WithoutDeadline_InvalidArgument) {
  Serve("hello");
  RawFetch endless(server_->address(), token_, absl::InfiniteDuration());
  EXPECT_EQ(endless.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  RawFetch days(server_->address(), token_, absl::Hours(48));
  EXPECT_EQ(days.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ArtifactServiceTest, Fetch_Chunks_AtMostOneMebibyteAndTotalFirst) {
  Serve(Pattern((2 << 20) + 5));
  RawFetch fetch(server_->address(), token_, absl::Seconds(30));
  std::vector<int64_t> totals;
  while (fetch.Read()) {
    EXPECT_LE(fetch.chunk().data().size(), size_t{1} << 20);
    totals.push_back(fetch.chunk().total_bytes());
  }
  EXPECT_TRUE(fetch.Finish().ok());
  EXPECT_EQ(totals, (std::vector<int64_t>{(2 << 20) + 5, 0, 0}));
}

TEST_F(ArtifactServiceTest, Fetch_TooManyStreams_ResourceExhausted) {
  Serve(Pattern(64 << 20), {.max_streams = 1});
  RawFetch slow(server_->address(), token_, absl::Seconds(30));
  ASSERT_TRUE(slow.Read());  // 63 MiB more than flow control lets through.
  EXPECT_EQ(CodeOf(Ref()), absl::StatusCode::kResourceExhausted);
}

TEST_F(ArtifactServiceTest, Shutdown_SlowReader_ReturnsAfterGrace) {
  Serve(Pattern(64 << 20));
  RawFetch slow(server_->address(), token_, absl::Seconds(60));
  ASSERT_TRUE(slow.Read());
  const absl::Duration begin = Clock::Real()->Now();
  server_->Shutdown(absl::Milliseconds(200));
  EXPECT_LT(Clock::Real()->Now() - begin, absl::Seconds(20));
  while (slow.Read()) {
  }
  EXPECT_FALSE(slow.Finish().ok());
}

TEST_F(ArtifactServiceTest, Fetch_HolderDiesInMidStream_Unavailable) {
  Serve(Pattern(64 << 20));
  RawFetch slow(server_->address(), token_, absl::Seconds(60));
  ASSERT_TRUE(slow.Read());
  std::thread killer([this] { server_->Shutdown(absl::ZeroDuration()); });
  while (slow.Read()) {
  }
  EXPECT_FALSE(slow.Finish().ok());
  killer.join();
}

// A holder that lies: it sends the chunks of a script.
class LyingHolder : public v1::ArtifactService::Service {
 public:
  explicit LyingHolder(std::vector<v1::FetchChunk> script) : script_(std::move(script)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~LyingHolder() override { server_->Shutdown(std::chrono::system_clock::now()); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  grpc::Status Fetch(grpc::ServerContext*, const v1::FetchRequest*,
                     grpc::ServerWriter<v1::FetchChunk>* writer) override {
    for (const v1::FetchChunk& chunk : script_) {
      if (!writer->Write(chunk)) break;
    }
    return grpc::Status::OK;
  }

  const std::vector<v1::FetchChunk> script_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

v1::FetchChunk Chunk(int64_t total, const std::string& data) {
  v1::FetchChunk chunk;
  chunk.set_total_bytes(total);
  chunk.set_data(data);
  return chunk;
}

TEST_F(ArtifactServiceTest, Fetch_LyingHolder_DataLoss) {
  const std::vector<std::vector<v1::FetchChunk>> scripts = {
      {},                                  // Nothing at all.
      {Chunk(5, "hel")},                   // Ends early.
      {Chunk(5, "hello"), Chunk(0, "!")},  // Sends more than it said.
      {Chunk(int64_t{1} << 62, "hello")},  // A total that must not be allocated.
      {Chunk(-1, "hello")},
      {Chunk(5, "help!")},  // Other bytes of the same size.
  };
  for (const auto& script : scripts) {
    const LyingHolder holder(script);
    EXPECT_EQ(CodeOf(RefTo(holder.address(), "hello")), absl::StatusCode::kDataLoss);
  }
}

TEST_F(ArtifactServiceTest, Stream_MoreOrFewerBytesThanAnnounced_DataLoss) {
  for (const auto& script : std::vector<std::vector<v1::FetchChunk>>{
           {Chunk(5, "hel")}, {Chunk(5, "hello"), Chunk(0, "!")}}) {
    const LyingHolder holder(script);
    Taken taken;
    EXPECT_EQ(Stream(holder.address(), &taken).code(), absl::StatusCode::kDataLoss);
    EXPECT_LE(taken.bytes.size(), 5u);
  }
}

TEST_F(ArtifactServiceTest, Fetch_OversizedChunk_ResourceExhausted) {
  const std::string huge(20 << 20, 'x');
  const LyingHolder holder({Chunk(20 << 20, huge)});
  EXPECT_EQ(CodeOf(RefTo(holder.address(), huge)), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace retort::rpc
