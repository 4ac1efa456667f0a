// The JSON lines beside the tests, and where the optional data lies.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort::text::jinja {

inline std::string SourceDir() {
  const char* source = std::getenv("RETORT_SOURCE_DIR");
  return source == nullptr ? "." : source;
}

inline std::string SharedDir() {
  const char* shared = std::getenv("RETORT_SHARED");
  return shared == nullptr ? ResolvePath(SourceDir(), "../shared") : shared;
}

// Each line of the file at `path` (<= 256 MiB).
inline std::vector<Json> ReadLines(const std::string& path) {
  std::vector<Json> lines;
  const auto text = ReadFile(path, int64_t{1} << 28);
  EXPECT_TRUE(text.ok()) << text.status();
  if (!text.ok()) return lines;
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const auto value = ParseJson(line, absl::StrCat(path, ":", lines.size() + 1));
    EXPECT_TRUE(value.ok()) << value.status();
    if (value.ok()) lines.push_back(*value);
  }
  return lines;
}

inline std::string TestFile(const std::string& name) {
  return SourceDir() + "/tests/common/text/jinja/" + name;
}

}  // namespace retort::text::jinja
