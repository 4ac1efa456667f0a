// The fake does what the tests of the ring rely on.
#include "testing/fake_gpu.h"

#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "gtest/gtest.h"

namespace retort::gpu {
namespace {

using absl::StatusCode;

TEST(FakeGpuTest, OpenMemory_OtherInstance_SameBytes) {
  FakeGpu exporter, importer;
  void* const memory = *exporter.Allocate(10'000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % (2 << 20), 0u);
  void* const opened = *importer.OpenMemory(*exporter.Export(memory));
  EXPECT_NE(opened, memory);
  static_cast<char*>(memory)[9'999] = 'x';
  EXPECT_EQ(static_cast<char*>(opened)[9'999], 'x');
  EXPECT_TRUE(importer.CloseMemory(opened).ok());
  EXPECT_TRUE(exporter.Free(memory).ok());
  EXPECT_TRUE(exporter.misuses().empty());
}

TEST(FakeGpuTest, OpenMemory_OwnStaleOrFreedHandle_InvalidArgument) {
  FakeGpu exporter, importer;
  void* const memory = *exporter.Allocate(100);
  const MemoryHandle handle = *exporter.Export(memory);
  EXPECT_EQ(exporter.OpenMemory(handle).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(importer.OpenMemory(FakeGpu::StaleMemory()).status().code(),
            StatusCode::kInvalidArgument);
  ASSERT_TRUE(exporter.Free(memory).ok());
  EXPECT_EQ(importer.OpenMemory(handle).status().code(), StatusCode::kInvalidArgument);
  void* const next = *exporter.Allocate(100);  // May reuse the descriptor's number.
  EXPECT_EQ(importer.OpenMemory(handle).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(exporter.Free(next).ok());
}

TEST(FakeGpuTest, Free_WhileOpen_Misuse) {
  FakeGpu exporter, importer;
  void* const memory = *exporter.Allocate(100);
  void* const opened = *importer.OpenMemory(*exporter.Export(memory));
  EXPECT_TRUE(exporter.Free(memory).ok());
  EXPECT_EQ(exporter.misuses().size(), 1u);
  EXPECT_TRUE(importer.CloseMemory(opened).ok());
}

TEST(FakeGpuTest, OpenMemory_RealProcesses_BytesAndEventsCrossUntilDeath) {
  int to_parent[2], to_child[2];
  ASSERT_EQ(pipe(to_parent), 0);
  ASSERT_EQ(pipe(to_child), 0);
  struct Handles {
    MemoryHandle memory;
    EventHandle event;
  } handles;
  const pid_t child = fork();
  if (child == 0) {
    FakeGpu gpu;
    void* const memory = *gpu.Allocate(100);
    static_cast<char*>(memory)[0] = 'c';
    const Event event = *gpu.CreateEvent(true);
    gpu.HoldStream(nullptr);
    (void)gpu.Record(event, nullptr).ok();
    handles = {*gpu.Export(memory), *gpu.ExportEvent(event)};
    if (write(to_parent[1], &handles, sizeof(handles)) != sizeof(handles)) _exit(1);
    char byte;
    if (read(to_child[0], &byte, 1) != 1) _exit(1);
    gpu.ReleaseStream(nullptr);
    if (write(to_parent[1], "x", 1) != 1 || read(to_child[0], &byte, 1) != 1) _exit(1);
    _exit(0);
  }
  ASSERT_EQ(read(to_parent[0], &handles, sizeof(handles)), static_cast<ssize_t>(sizeof(handles)));
  FakeGpu gpu;
  void* const memory = *gpu.OpenMemory(handles.memory);
  EXPECT_EQ(static_cast<char*>(memory)[0], 'c');
  const Event event = *gpu.OpenEvent(handles.event);
  EXPECT_FALSE(*gpu.IsDone(event));
  char byte = 0;
  ASSERT_EQ(write(to_child[1], "x", 1), 1);
  ASSERT_EQ(read(to_parent[0], &byte, 1), 1);
  EXPECT_TRUE(*gpu.IsDone(event));
  ASSERT_EQ(write(to_child[1], "x", 1), 1);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(gpu.OpenMemory(handles.memory).status().code(), StatusCode::kInvalidArgument);
  for (const int fd : {to_parent[0], to_parent[1], to_child[0], to_child[1]}) close(fd);
}

TEST(FakeGpuTest, StreamWait_HeldStream_LaterWorkWaits) {
  FakeGpu gpu;
  const Stream first = *gpu.CreateStream();
  const Stream second = *gpu.CreateStream();
  const Event event = *gpu.CreateEvent(false);
  std::vector<char> from(4, 'a'), to(4, ' ');
  gpu.HoldStream(first);
  ASSERT_TRUE(gpu.Record(event, first).ok());
  ASSERT_TRUE(gpu.StreamWait(second, event).ok());
  ASSERT_TRUE(gpu.Copy(to.data(), from.data(), 4, second).ok());
  EXPECT_FALSE(*gpu.IsDone(event));
  EXPECT_EQ(to[0], ' ');
  gpu.ReleaseStream(first);
  EXPECT_TRUE(*gpu.IsDone(event));
  EXPECT_EQ(to, from);
}

TEST(FakeGpuTest, FailCall_Second_OnlyThat) {
  FakeGpu gpu;
  gpu.FailCall(Call::kAllocate, 2, absl::InternalError("planted"));
  void* const first = *gpu.Allocate(1);
  EXPECT_EQ(gpu.Allocate(1).status().code(), StatusCode::kInternal);
  void* const third = *gpu.Allocate(1);
  EXPECT_TRUE(gpu.Free(first).ok() && gpu.Free(third).ok());
}

TEST(FakeGpuTest, Allocate_MoreThanTheDeviceHas_ResourceExhausted) {
  FakeGpuOptions options;
  options.devices[0].memory_bytes = 1000;
  FakeGpu gpu(options);
  void* const memory = *gpu.Allocate(900);
  EXPECT_EQ(gpu.Allocate(200).status().code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(gpu.Free(memory).ok());
  EXPECT_TRUE(gpu.Free(*gpu.Allocate(200)).ok());
}

TEST(FakeGpuTest, CloseMemory_WorkOnIt_Misuse) {
  FakeGpu exporter, importer;
  void* const memory = *exporter.Allocate(100);
  void* const opened = *importer.OpenMemory(*exporter.Export(memory));
  std::vector<char> to(100);
  importer.HoldStream(nullptr);
  ASSERT_TRUE(importer.Copy(to.data(), opened, 100, nullptr).ok());
  EXPECT_TRUE(importer.CloseMemory(opened).ok());
  EXPECT_EQ(importer.misuses().size(), 1u);
  EXPECT_TRUE(exporter.Free(memory).ok());
}

}  // namespace
}  // namespace retort::gpu
