#include "common/base/text_argument.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

// Standard input is `fd` while it lives.
class InputFrom {
 public:
  explicit InputFrom(int fd) : before_(dup(STDIN_FILENO)) { dup2(fd, STDIN_FILENO); }
  ~InputFrom() { dup2(before_.get(), STDIN_FILENO); }

 private:
  UniqueFd before_;
};

TEST(TextArgumentTest, Dash_ReadsASocketToItsEnd) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  ASSERT_TRUE(WriteAll(writer.get(), "a\xff", "socket").ok());
  writer.Reset();
  const InputFrom input(reader.get());
  EXPECT_EQ(*TextArgument("-", /*replace_invalid_utf8=*/true), "a\xef\xbf\xbd");
}

TEST(TextArgumentTest, Dash_TooMuchOrUnreadable_SaysStandardInput) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const UniqueFd reader(ends[0]), writer(ends[1]);
  ASSERT_TRUE(WriteAll(writer.get(), "abc", "pipe").ok());
  const InputFrom input(reader.get());
  EXPECT_EQ(ReadStandardInput(2).status().message(),
            "standard input: more than 2 bytes, at most so many are read");
  const InputFrom unreadable(writer.get());
  EXPECT_THAT(std::string(ReadStandardInput(2).status().message()),
              testing::HasSubstr("standard input: Bad file descriptor"));
}

TEST(TextArgumentTest, Dash_EventCounterInItsPlace_SaysClosed) {
  const UniqueFd events(eventfd(0, EFD_CLOEXEC));
  const InputFrom input(events.get());
  EXPECT_THAT(std::string(ReadStandardInput(2).status().message()),
              testing::HasSubstr("standard input: is closed"));
}

}  // namespace
}  // namespace retort
