// The memory of pretend_device.h: one anonymous file, mapped twice. Device addresses lie in a
// mapping that nobody may read or write, HostAddress gives the same byte of the other one. No
// Torch here.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

namespace retort::pretend {

class Memory {
 public:
  Memory();

  // Null when no memory is left.
  void* Allocate(size_t bytes);
  void Free(void* memory);
  void* HostAddress(const void* address) const;

 private:
  bool Holds(const void* address) const;

  char* device_ = nullptr;
  char* host_ = nullptr;
  std::mutex mutex_;
  size_t used_ = 0;
  std::map<size_t, std::vector<void*>> free_;  // By size.
  std::map<void*, size_t> sizes_;              // Of what is allocated.
};

}  // namespace retort::pretend
