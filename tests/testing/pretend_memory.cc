#include "testing/pretend_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace retort::pretend {
namespace {

constexpr size_t kBytes = size_t{16} << 30;  // Of addresses: pages take memory when touched.
constexpr size_t kAlignment = 512;
constexpr int kNan = 0xff;  // Bytes that are NaN in every floating type.

// Without base's RETORT_CHECK, whose library is not made for shared ones.
void Check(bool condition, const char* why) {
  if (condition) return;
  std::fprintf(stderr, "pretended device: %s\n", why);
  std::abort();
}

char* Map(int file, int protection) {
  void* const at = mmap(nullptr, kBytes, protection, MAP_SHARED | MAP_NORESERVE, file, 0);
  Check(at != MAP_FAILED, "no addresses");
  return static_cast<char*>(at);
}

}  // namespace

Memory::Memory() {
  const int file = memfd_create("pretend_device", MFD_CLOEXEC);
  Check(file >= 0 && ftruncate(file, kBytes) == 0, "no file for its memory");
  device_ = Map(file, PROT_NONE);
  host_ = Map(file, PROT_READ | PROT_WRITE);
  close(file);
}

void* Memory::Allocate(size_t bytes) {
  if (bytes == 0 || bytes > kBytes) return nullptr;
  const size_t size = std::bit_ceil(std::max(bytes, kAlignment));
  const std::lock_guard<std::mutex> lock(mutex_);
  void* memory = nullptr;
  std::vector<void*>& reusable = free_[size];
  if (!reusable.empty()) {
    memory = reusable.back();
    reusable.pop_back();
  } else {
    if (size > kBytes - used_) return nullptr;
    memory = device_ + used_;
    used_ += size;
  }
  sizes_[memory] = size;
  std::memset(HostAddress(memory), kNan, bytes);
  return memory;
}

void Memory::Free(void* memory) {
  if (memory == nullptr) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto at = sizes_.find(memory);
  Check(at != sizes_.end(), "freed memory that is not allocated");
  free_[at->second].push_back(memory);
  sizes_.erase(at);
}

bool Memory::Holds(const void* address) const {
  return address >= device_ && address < device_ + kBytes;
}

void* Memory::HostAddress(const void* address) const {
  if (!Holds(address)) return const_cast<void*>(address);
  return host_ + (static_cast<const char*>(address) - device_);
}

}  // namespace retort::pretend
