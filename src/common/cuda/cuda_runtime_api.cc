#include "common/cuda/cuda_runtime_api.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/cuda/cuda_status.h"

namespace retort::gpu {
namespace {

constexpr int64_t kBlockBytes = int64_t{2} << 20;

cudaStream_t Of(Stream stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t EventOf(Event event) { return static_cast<cudaEvent_t>(event); }

// As nvidia-smi writes it.
std::string UuidText(const cudaUUID_t& uuid) {
  std::string text = "GPU";
  for (int i = 0; i < 16; ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += "-";
    absl::StrAppend(&text, absl::Hex(static_cast<unsigned char>(uuid.bytes[i]), absl::kZeroPad2));
  }
  return text;
}

// FAILED_PRECONDITION if there is a driver, but an older one.
absl::Status CheckDriver() {
  int driver = 0, library = 0;
  RETORT_RETURN_IF_ERROR(CudaStatus(cudaDriverGetVersion(&driver), "cudaDriverGetVersion"));
  RETORT_RETURN_IF_ERROR(CudaStatus(cudaRuntimeGetVersion(&library), "cudaRuntimeGetVersion"));
  if (driver == 0 || driver >= library) return absl::OkStatus();
  const auto text = [](int version) {
    return absl::StrCat(version / 1000, ".", version % 1000 / 10);
  };
  return absl::FailedPreconditionError(absl::StrCat("the NVIDIA driver of this host is for CUDA ",
                                                    text(driver), "; this build needs one for ",
                                                    text(library)));
}

absl::StatusOr<DeviceInfo> Describe(int index) {
  cudaDeviceProp properties;
  RETORT_RETURN_IF_ERROR(
      CudaStatus(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties"));
  return DeviceInfo{.index = index,
                    .name = properties.name,
                    .uuid = UuidText(properties.uuid),
                    .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem)};
}

template <typename Handle, typename CudaHandle>
Handle PackHandle(const CudaHandle& handle) {
  Handle packed;
  static_assert(sizeof(packed.bytes) == sizeof(handle));
  std::memcpy(packed.bytes.data(), &handle, sizeof(handle));
  return packed;
}
template <typename CudaHandle, typename Handle>
CudaHandle UnpackHandle(const Handle& packed) {
  CudaHandle handle;
  static_assert(sizeof(packed.bytes) == sizeof(handle));
  std::memcpy(&handle, packed.bytes.data(), sizeof(handle));
  return handle;
}

class RuntimeApi final : public Api {
 public:
  std::string torch_device_type() const override { return "cuda"; }

  absl::StatusOr<std::vector<DeviceInfo>> Devices() override {
    int count = 0;
    const cudaError_t result = cudaGetDeviceCount(&count);
    // A host without a device or without a driver has none; that is no failure of this library.
    if (result == cudaErrorNoDevice || result == cudaErrorInsufficientDriver) {
      cudaGetLastError();
      RETORT_RETURN_IF_ERROR(CheckDriver());
      return std::vector<DeviceInfo>();
    }
    RETORT_RETURN_IF_ERROR(CudaStatus(result, "cudaGetDeviceCount"));
    std::vector<DeviceInfo> devices;
    for (int i = 0; i < count; ++i) {
      RETORT_ASSIGN_OR_RETURN(DeviceInfo device, Describe(i));
      devices.push_back(std::move(device));
    }
    return devices;
  }
  absl::Status SetDevice(int index) override {
    return CudaStatus(cudaSetDevice(index), absl::StrCat("cudaSetDevice(", index, ")"));
  }

  absl::StatusOr<void*> Allocate(int64_t bytes) override {
    // cudaMalloc puts smaller ones together into one block, all of which a handle then opens.
    const int64_t blocks = (bytes + kBlockBytes - 1) / kBlockBytes;
    const auto size = static_cast<size_t>(blocks * kBlockBytes);
    void* memory = nullptr;
    cudaError_t result = cudaMalloc(&memory, size);
    if (result == cudaErrorMemoryAllocation) {  // LibTorch may keep what it does not use.
      cudaGetLastError();
      c10::cuda::CUDACachingAllocator::emptyCache();
      result = cudaMalloc(&memory, size);
    }
    RETORT_RETURN_IF_ERROR(CudaStatus(result, absl::StrCat("cudaMalloc of ", bytes, " bytes")));
    return memory;
  }
  absl::Status Free(void* memory) override { return CudaStatus(cudaFree(memory), "cudaFree"); }
  absl::StatusOr<void*> AllocatePinned(int64_t bytes) override {
    void* memory = nullptr;
    RETORT_RETURN_IF_ERROR(
        CudaStatus(cudaHostAlloc(&memory, static_cast<size_t>(bytes), cudaHostAllocDefault),
                   absl::StrCat("cudaHostAlloc of ", bytes, " bytes")));
    return memory;
  }
  absl::Status FreePinned(void* memory) override {
    return CudaStatus(cudaFreeHost(memory), "cudaFreeHost");
  }

  Stream CurrentStream() override { return c10::cuda::getCurrentCUDAStream().stream(); }
  absl::StatusOr<Stream> CreateStream() override {
    cudaStream_t stream = nullptr;
    RETORT_RETURN_IF_ERROR(CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                                      "cudaStreamCreateWithFlags"));
    return static_cast<Stream>(stream);
  }
  absl::Status DestroyStream(Stream stream) override {
    return CudaStatus(cudaStreamDestroy(Of(stream)), "cudaStreamDestroy");
  }
  absl::Status Copy(void* to, const void* from, int64_t bytes, Stream stream) override {
    return CudaStatus(
        cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, Of(stream)),
        "cudaMemcpyAsync");
  }
  absl::Status Zero(void* to, int64_t bytes, Stream stream) override {
    return CudaStatus(cudaMemsetAsync(to, 0, static_cast<size_t>(bytes), Of(stream)),
                      "cudaMemsetAsync");
  }

  absl::StatusOr<Event> CreateEvent(bool shared) override {
    const unsigned flags = cudaEventDisableTiming | (shared ? cudaEventInterprocess : 0u);
    cudaEvent_t event = nullptr;
    RETORT_RETURN_IF_ERROR(
        CudaStatus(cudaEventCreateWithFlags(&event, flags), "cudaEventCreateWithFlags"));
    return static_cast<Event>(event);
  }
  absl::Status DestroyEvent(Event event) override {
    return CudaStatus(cudaEventDestroy(EventOf(event)), "cudaEventDestroy");
  }
  absl::Status Record(Event event, Stream stream) override {
    return CudaStatus(cudaEventRecord(EventOf(event), Of(stream)), "cudaEventRecord");
  }
  absl::Status StreamWait(Stream stream, Event event) override {
    return CudaStatus(cudaStreamWaitEvent(Of(stream), EventOf(event), 0), "cudaStreamWaitEvent");
  }
  absl::StatusOr<bool> IsDone(Event event) override {
    const cudaError_t result = cudaEventQuery(EventOf(event));
    if (result != cudaErrorNotReady) {
      RETORT_RETURN_IF_ERROR(CudaStatus(result, "cudaEventQuery"));
      return true;
    }
    cudaGetLastError();
    return false;
  }

  absl::StatusOr<MemoryHandle> Export(void* memory) override {
    cudaIpcMemHandle_t handle;
    RETORT_RETURN_IF_ERROR(CudaStatus(cudaIpcGetMemHandle(&handle, memory), "cudaIpcGetMemHandle"));
    return PackHandle<MemoryHandle>(handle);
  }
  absl::StatusOr<void*> OpenMemory(const MemoryHandle& handle) override {
    void* memory = nullptr;
    RETORT_RETURN_IF_ERROR(
        CudaStatus(cudaIpcOpenMemHandle(&memory, UnpackHandle<cudaIpcMemHandle_t>(handle),
                                        cudaIpcMemLazyEnablePeerAccess),
                   "cudaIpcOpenMemHandle"));
    return memory;
  }
  absl::Status CloseMemory(void* memory) override {
    return CudaStatus(cudaIpcCloseMemHandle(memory), "cudaIpcCloseMemHandle");
  }
  absl::StatusOr<EventHandle> ExportEvent(Event event) override {
    cudaIpcEventHandle_t handle;
    RETORT_RETURN_IF_ERROR(
        CudaStatus(cudaIpcGetEventHandle(&handle, EventOf(event)), "cudaIpcGetEventHandle"));
    return PackHandle<EventHandle>(handle);
  }
  absl::StatusOr<Event> OpenEvent(const EventHandle& handle) override {
    cudaEvent_t event = nullptr;
    RETORT_RETURN_IF_ERROR(
        CudaStatus(cudaIpcOpenEventHandle(&event, UnpackHandle<cudaIpcEventHandle_t>(handle)),
                   "cudaIpcOpenEventHandle"));
    return static_cast<Event>(event);
  }

  absl::StatusOr<bool> CanRead(int device, const std::string& uuid) override {
    RETORT_ASSIGN_OR_RETURN(const std::vector<DeviceInfo> devices, Devices());
    for (const DeviceInfo& other : devices) {
      if (other.uuid != uuid) continue;
      if (other.index == device) return true;
      int can = 0;
      RETORT_RETURN_IF_ERROR(CudaStatus(cudaDeviceCanAccessPeer(&can, device, other.index),
                                        "cudaDeviceCanAccessPeer"));
      return can != 0;
    }
    return absl::NotFoundError(
        absl::StrCat("this process sees no device ", uuid,
                     "; processes that share device memory must see the same devices "
                     "(CUDA_VISIBLE_DEVICES)"));
  }
};

}  // namespace

Api& CudaApi() {
  static auto* const api = new RuntimeApi;
  return *api;
}

}  // namespace retort::gpu
