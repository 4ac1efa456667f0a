// What a run tells whoever watches it. Called on the event loop's thread; must be quick.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/rpc/endpoint.h"
#include "driver/schedule/scheduler.h"
#include "retort/v1/record.pb.h"

namespace retort::driver {

struct RunState {
  ScheduleSnapshot schedule;
  int workers_alive = 0;
  int workers_expected = 0;
  int deaths = 0;
};

// Known before the first worker starts.
struct RunStart {
  std::string name;
  std::string algorithm;
  std::string run_dir;
  int64_t steps = 0;
  int64_t samples_per_step = 0;
  bool resumed = false;
  int64_t first_step = 0;  // Where it goes on from.
  bool external = false;
  std::string address;  // Where workers attach.
  rpc::TlsFiles tls;
  std::string token_file;
  int workers = 0;
  std::vector<std::string> notes;  // The plan's.
};

class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void OnStart(const RunStart&) {}
  virtual void OnState(const RunState&) {}       // At every tick.
  virtual void OnStep(const v1::StepRecord&) {}  // A new commit; replayed steps are not repeated.
  virtual void OnEval(const v1::EvalRecord&) {}
  virtual void OnNote(absl::string_view /*line*/) {}  // A state change worth a line.
};

}  // namespace retort::driver
