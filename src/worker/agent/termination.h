// Signals of a worker process. SIGTERM asks for an orderly end; SIGINT is ignored, because a
// terminal sends it to the whole process group and only `retort run` may decide what it means.
#pragma once

#include "common/base/unique_fd.h"

namespace retort::worker {

// Every worker's main calls this right after DieWithParent, before any thread starts: blocks
// SIGTERM in this and all later threads (DriverSession and the agent read it from a signalfd),
// ignores SIGINT and SIGPIPE.
void PrepareTerminationSignals();

// A new signalfd that becomes readable when SIGTERM is pending. Never readable where the signal is
// not blocked.
UniqueFd TerminationSignalFd();

}  // namespace retort::worker
