// RETORT_CHECK(condition) << "why": aborts on a bug of ours. Never for input: input errors are
// absl::Status.
#pragma once

#include <sstream>

namespace retort::internal {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return message_; }

 private:
  std::ostringstream message_;
};

}  // namespace retort::internal

#define RETORT_CHECK(condition) \
  while (!(condition)) ::retort::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()
