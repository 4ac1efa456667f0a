// What the calling process holds in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "gtest/gtest.h"

namespace retort {

// Sanitizers keep freed memory, so that what is held says nothing.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kKeepsFreedMemory = true;
#else
inline constexpr bool kKeepsFreedMemory = false;
#endif

inline int64_t ResidentPages() {
  const std::string statm = *ReadFile("/proc/self/statm", 4096);
  const std::vector<std::string> pages = absl::StrSplit(statm, ' ');
  int64_t resident = 0;
  EXPECT_TRUE(absl::SimpleAtoi(pages[1], &resident)) << statm;
  return resident;
}

}  // namespace retort
