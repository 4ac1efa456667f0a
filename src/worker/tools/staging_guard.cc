#include "worker/tools/staging_guard.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "common/base/check.h"
#include "common/base/file.h"

namespace retort::worker {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
constexpr int kMostTries = 1000;

// Written by the handler.
std::atomic<int> told_fd{-1};

void OnSignal(int signal) {
  const int error = errno;
  const char byte = static_cast<char>(signal);
  if (write(told_fd.load(), &byte, 1) < 0) _exit(128 + signal);
  errno = error;
}

}  // namespace

StagingGuard::StagingGuard() {
  int ends[2];
  RETORT_CHECK(pipe2(ends, O_CLOEXEC) == 0);
  signals_ = UniqueFd(ends[0]);
  told_ = UniqueFd(ends[1]);
  RETORT_CHECK(told_fd.exchange(told_.get()) == -1) << "two guards at a time";
  waiter_ = std::thread([this] { Wait(); });
  for (int i = 0; i < 3; ++i) {
    struct sigaction action = {};
    action.sa_handler = OnSignal;
    action.sa_flags = SA_RESTART;
    sigaction(kSignals[i], &action, &before_[i]);
  }
}

StagingGuard::~StagingGuard() {
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &before_[i], nullptr);
  const char end = 0;
  RETORT_CHECK(write(told_.get(), &end, 1) == 1);
  waiter_.join();
  told_fd = -1;
}

void StagingGuard::Watch(const std::string& folder) {
  MutexLock lock(&mutex_);
  folder_ = folder;
}

void StagingGuard::Wait() {
  char byte = 0;
  ssize_t got = 0;
  do {
    got = read(signals_.get(), &byte, 1);
  } while (got < 0 && errno == EINTR);
  if (got != 1 || byte == 0) return;
  MutexLock lock(&mutex_);
  // Whoever fills the folder goes on until the end: what it adds meanwhile is removed as well.
  for (int i = 0; i < kMostTries && !folder_.empty() && FileExists(folder_); ++i) {
    RemoveRecursively(folder_).IgnoreError();
  }
  _exit(128 + byte);
}

}  // namespace retort::worker
