#include "common/tensor/torch_process.h"

#include <malloc.h>
#include <stdlib.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/tensor/aten.h"

namespace retort::tensor {

namespace {

// glibc gives blocks of some MB back to the kernel as soon as they are freed, and every step would
// fault the same pages in again (a quarter of a small model's training time). Freed memory stays
// with the process instead.
void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // The most that glibc takes.
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

// On a GPU, sums in the precision of their type: products of fp32 are not rounded to TF32, partial
// sums of bf16 products stay fp32.
void KeepFullPrecision() {
  at::Context& context = at::globalContext();
  context.setFloat32MatmulPrecision("highest");
  context.setAllowTF32CuBLAS(false);
  context.setAllowTF32CuDNN(false);
  context.setAllowBF16ReductionCuBLAS(false);
  context.setAllowFP16ReductionCuBLAS(false);
}

}  // namespace

// Without a workspace of its own cuBLAS is not repeatable, and deterministic mode refuses it. That
// is said by an environment variable only.
void SetTorchEnvironment() { setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0); }

void ConfigureTorchProcess(int threads) {
  SetTorchEnvironment();
  KeepFreedMemory();
  KeepFullPrecision();
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  // Deterministic mode would also fill every new tensor with NaN: a debugging aid that costs a pass
  // over memory.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  at::set_num_threads(threads);
  // Throws when the pool is already running: then some ATen call came first, a bug of the caller.
  at::set_num_interop_threads(1);
}

void AllowTf32() { at::globalContext().setFloat32MatmulPrecision("high"); }

ThreadCount::ThreadCount(int threads) : previous_(at::get_num_threads()) {
  at::set_num_threads(threads);
}
ThreadCount::~ThreadCount() { at::set_num_threads(previous_); }

DistinctIndices::DistinctIndices() : before_(at::globalContext().deterministicAlgorithms()) {
  at::globalContext().setDeterministicAlgorithms(false, /*warn_only=*/false);
}
DistinctIndices::~DistinctIndices() {
  at::globalContext().setDeterministicAlgorithms(before_, /*warn_only=*/false);
}

absl::Status StatusOfException(const std::exception& error) {
  std::string message;
  if (const auto* torch_error = dynamic_cast<const c10::Error*>(&error)) {
    message = torch_error->what_without_backtrace();
  } else {
    message = error.what();
  }
  message = message.substr(0, message.find('\n'));
  const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
                      dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
                      absl::StrContains(message, "not enough memory") ||
                      absl::StrContains(message, "can't allocate memory");
  if (memory) return absl::ResourceExhaustedError(absl::StrCat("out of memory: ", message));
  return absl::InternalError(absl::StrCat("LibTorch: ", message));
}

}  // namespace retort::tensor
