// Where the agent's tests find their program and put their files.
#pragma once

#include <string>

#include "common/base/file.h"
#include "common/base/random_id.h"
#include "gtest/gtest.h"

namespace retort::worker {

inline std::string FakeWorkerPath() { return ExecutableDirectory() + "/agent_fake_worker"; }

// Nothing is there, and no other test uses it.
inline std::string FreshPath(const std::string& name) {
  const std::string dir = ::testing::TempDir() + "/retort_agent_" + RandomHex(8);
  EXPECT_TRUE(MakeDirectories(dir).ok());
  return dir + "/" + name;
}

}  // namespace retort::worker
