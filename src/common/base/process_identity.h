// A process named so that a reused process id is not mistaken for it. Processes that name each
// other share a PID namespace and see /proc.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace retort {

struct ProcessIdentity {
  int64_t pid = 0;          // 0: a thread of this process; it is never reported dead.
  uint64_t start_time = 0;  // In clock ticks since boot, from /proc/PID/stat.

  bool operator==(const ProcessIdentity&) const = default;
};

// Of the calling process. Errors: INTERNAL /proc is not readable.
absl::StatusOr<ProcessIdentity> OwnProcess();

// False once the process has ended, also while it is a zombie that its parent has not collected.
// True when /proc cannot be asked (no descriptor is free, say): who is taken for dead loses what
// it holds, so only a certain death counts.
bool IsAlive(const ProcessIdentity& process);

// True from when it begins to end: its descriptors may be closed already, while its other threads
// still run. For saying why something of it failed, not for taking what it holds.
bool IsEnding(const ProcessIdentity& process);

// A number of the calling process's PID namespace, alike for all processes in it, never 0. Errors:
// INTERNAL /proc is not readable.
absl::StatusOr<uint64_t> OwnPidNamespace();

// The identity in one word, so that one atomic access reads or changes all of it: the process id
// in the low 22 bits (Linux's largest is 2^22 - 1), the low 42 bits of the start time above them
// (1,394 years of ticks). 0 is nobody; the `pid` 0 packs to 0.
uint64_t PackProcess(const ProcessIdentity& process);
ProcessIdentity UnpackProcess(uint64_t word);

}  // namespace retort
