// Copies that bypass the caches, for results larger than they are: an ordinary store would first
// read the line. stream_store_sse2.cc on x86-64, stream_store_portable.cc (a plain copy) elsewhere;
// CMake chooses. Internal.
#pragma once

#include <cstddef>

namespace retort::collective {

// Copies `bytes` bytes; no overlap. Order against later stores only after StreamFence().
void StreamStore(void* destination, const void* source, size_t bytes);

// Makes this thread's streamed stores visible before its later stores.
void StreamFence();

}  // namespace retort::collective
