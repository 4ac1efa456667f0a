// What every process that computes with LibTorch does first, and the edge where ATen's exceptions
// end.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/tensor/aten.h"

namespace retort::tensor {

// Sets CUBLAS_WORKSPACE_CONFIG, which repeatable sums on a GPU need, unless it is set. Calling it
// again changes nothing; a process with threads calls it before they are there, for other threads
// must not read the environment meanwhile.
void SetTorchEnvironment();

// Deterministic algorithms (an operation without one throws), no reduced precision (TF32) on a GPU,
// `threads` intra-op threads, one inter-op thread. Call once in main, before any other ATen call.
void ConfigureTorchProcess(int threads);

// Products of fp32 matrices on a GPU may be TF32's from now on.
void AllowTf32();

// Sets the intra-op thread count for a scope. What must give equal bits in processes with different
// counts runs under ThreadCount(1).
class ThreadCount {
 public:
  explicit ThreadCount(int threads);
  ~ThreadCount();
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int previous_;
};

// While it lives, operations that write to places that indices name write directly. Deterministic
// mode would have a GPU sort the indices first, and the host wait for their range, which only
// indices that repeat need. For a scope that writes to distinct places only, while no other thread
// of the process computes on a GPU.
class DistinctIndices {
 public:
  DistinctIndices();
  ~DistinctIndices();
  DistinctIndices(const DistinctIndices&) = delete;
  DistinctIndices& operator=(const DistinctIndices&) = delete;

 private:
  bool before_;
};

// The status of a LibTorch exception: RESOURCE_EXHAUSTED when memory ran out, else INTERNAL; one
// line, the backtrace cut off.
absl::Status StatusOfException(const std::exception& error);

// Runs `body` and turns what LibTorch throws into a status:
//   absl::Status status = CatchTorch([&] { ... });
//   absl::StatusOr<at::Tensor> loss = CatchTorch([&]() -> at::Tensor { ... });
// A body that itself returns a Status or StatusOr keeps its type.
template <typename Body>
auto CatchTorch(Body&& body) {
  using Result = std::invoke_result_t<Body>;
  if constexpr (std::is_void_v<Result>) {
    try {
      std::forward<Body>(body)();
      return absl::OkStatus();
    } catch (const std::exception& error) {
      return StatusOfException(error);
    }
  } else if constexpr (std::is_constructible_v<Result, absl::Status>) {
    try {
      return std::forward<Body>(body)();
    } catch (const std::exception& error) {
      return Result(StatusOfException(error));
    }
  } else {
    try {
      return absl::StatusOr<Result>(std::forward<Body>(body)());
    } catch (const std::exception& error) {
      return absl::StatusOr<Result>(StatusOfException(error));
    }
  }
}

}  // namespace retort::tensor
