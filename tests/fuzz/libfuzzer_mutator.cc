// libFuzzer with the seeds and the mutations of the replay beside its own: no corpus folder and no
// dictionary file have to be kept in step with the formats.
#include <algorithm>
#include <cstring>

#include "common/base/rng.h"
#include "fuzz/fuzz_target.h"
#include "fuzz/mutate.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  using namespace retort;
  static const std::vector<std::string> seeds = fuzz::Seeds();
  CounterRng rng(seed, RngPurpose::kData, 0);
  const std::string& start = seeds[rng.NextBelow(seeds.size())];
  // Below a handful of bytes there is nothing to mutate yet; later a fresh start is rare.
  const bool fresh = size < 8 || rng.NextBelow(100) == 0;
  if (!fresh && rng.NextBelow(2) == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::string input(reinterpret_cast<const char*>(data), size);
  const std::string mutated = fresh ? start : fuzz::Mutate(input, start, rng);
  const size_t kept = std::min(mutated.size(), max_size);
  std::memcpy(data, mutated.data(), kept);
  return kept;
}
