#include "common/cuda/cuda_status.h"

#include "absl/strings/str_cat.h"

namespace retort::gpu {

absl::Status CudaStatus(cudaError_t result, absl::string_view call) {
  if (result == cudaSuccess) return absl::OkStatus();
  cudaGetLastError();
  const std::string text = absl::StrCat(std::string(call), ": ", cudaGetErrorString(result), " (",
                                        cudaGetErrorName(result), ")");
  switch (result) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(text);
    case cudaErrorInvalidValue:
    case cudaErrorInvalidResourceHandle:
    case cudaErrorInvalidDevice:
    case cudaErrorPeerAccessUnsupported:
    case cudaErrorTooManyPeers:
    case cudaErrorNotSupported:
    case cudaErrorMapBufferObjectFailed:  // What an IPC handle that cannot be opened gives.
      return absl::InvalidArgumentError(text);
    default:
      return absl::InternalError(text);
  }
}

}  // namespace retort::gpu
