// Command lines that a run prints for a person to paste: absolute paths, quoted for the shell where
// that is needed. `programs` is the folder of `retort` and `retort-worker`.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "driver/service/run_job.h"
#include "driver/service/run_observer.h"

namespace retort::driver {

// `word` as a POSIX shell reads it back.
std::string ShellWord(absl::string_view word);

// "/repo/build/bin/retort run --resume /runs/a", and the flags that the run was started with if its
// workers are external.
std::string ResumeLine(const std::string& programs, const RunSummary& summary);

// Starts the workers of a run that waits for them: deploy/mpirun.sh of the checkout that `programs`
// was built in, or plain mpirun where there is none. The launcher is told which worker to start
// unless it is the one that it would take. Workers get the driver's TLS files, and off loopback the
// driver's host as the one to serve artifacts at: right on one host; docs/cluster.md says the rest.
std::string WorkersLine(const std::string& programs, const RunStart& start);

}  // namespace retort::driver
