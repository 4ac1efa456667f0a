#include "common/gpu/device_list.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::gpu {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const DeviceInfo kOne = {.index = 1, .name = "NVIDIA \"X\"", .uuid = "GPU-1", .memory_bytes = 5};

// A program in place of retort-worker.
class Program {
 public:
  explicit Program(const std::string& body)
      : path_(ResolvePath(testing::TempDir(), absl::StrCat("worker.", getpid()))) {
    std::ofstream(path_) << "#!/bin/sh\n" << body;
    chmod(path_.c_str(), 0700);
  }
  ~Program() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(DeviceListTest, Json_RoundTrips) {
  const auto parsed = ParseDeviceList(DeviceListJson({kOne}));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->size(), 1u);
  EXPECT_EQ(parsed->front().index, kOne.index);
  EXPECT_EQ(parsed->front().name, kOne.name);
  EXPECT_EQ(parsed->front().uuid, kOne.uuid);
  EXPECT_EQ(parsed->front().memory_bytes, kOne.memory_bytes);
}

TEST(DeviceListTest, ParseDeviceList_AnythingElse_Refused) {
  for (const char* text :
       {"", "[]", "{}", "{\"devices\": 1}", "{\"devices\": [1]}",
        "{\"devices\": [{\"index\": 0, \"name\": \"x\", \"uuid\": \"y\"}]}",
        "{\"devices\": [{\"index\": \"0\", \"name\": \"x\", \"uuid\": \"y\", "
        "\"memory_bytes\": 1}]}",
        "{\"devices\": [{\"index\": 99999999999, \"name\": \"x\", \"uuid\": \"y\", "
        "\"memory_bytes\": 1}]}",
        "{\"devices\": [{\"index\": 0, \"name\": \"x\", \"uuid\": \"y\", "
        "\"memory_bytes\": -5}]}"}) {
    EXPECT_FALSE(ParseDeviceList(text).ok()) << text;
  }
}

TEST(DeviceListTest, AskForDevices_LibrariesWarn_ReadsTheList) {
  const Program worker(
      "[ \"$1 $2\" = 'devices --json' ] || exit 3\n"
      "echo 'a library warns' >&2\necho '{\"devices\": []}'\necho 'and again' >&2\n");
  const auto devices = AskForDevices(worker.path());
  ASSERT_TRUE(devices.ok()) << devices.status();
  EXPECT_THAT(*devices, IsEmpty());
}

TEST(DeviceListTest, AskForDevices_WorkerRefuses_ItsOwnLine) {
  const Program worker("echo warning\necho 'retort: there is no GPU plug-in' >&2\nexit 2\n");
  const auto devices = AskForDevices(worker.path());
  EXPECT_TRUE(absl::IsFailedPrecondition(devices.status()));
  EXPECT_EQ(std::string(devices.status().message()), "there is no GPU plug-in");
}

TEST(DeviceListTest, AskForDevices_WorkerDiesOrIsMissing_Said) {
  {
    const Program worker("kill -9 $$\n");
    EXPECT_THAT(std::string(AskForDevices(worker.path()).status().message()),
                HasSubstr("devices was ended by signal 9"));
  }
  EXPECT_TRUE(absl::IsNotFound(AskForDevices("/not/there").status()));
  const Program chatty("head -c 3000000 /dev/zero\n");
  EXPECT_THAT(std::string(AskForDevices(chatty.path()).status().message()),
              HasSubstr("more than 1 MiB"));
}

}  // namespace
}  // namespace retort::gpu
