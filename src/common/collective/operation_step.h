// What a rank is doing, so that ranks can check that they do the same. Internal to collective/.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/collective/collective.h"

namespace retort::collective {

enum class Operation : uint32_t { kJoin, kAllReduce, kAllGather, kBroadcast, kBarrier, kAllocate };
absl::string_view NameOf(Operation operation);

// Travels between processes of one build as its bytes.
struct Step {
  Operation operation = Operation::kBarrier;
  ElementType type = ElementType::kByte;
  uint64_t number = 0;  // Of the operation, from 1.
  int64_t count = 0;    // Elements or bytes of the operation.
  int64_t place =
      0;  // Root of a broadcast; of a sum: 0 ordinary memory, else shared buffer and offset.
  int64_t stage = 0;  // Which barrier of the operation.

  bool operator==(const Step&) const = default;
};
static_assert(std::is_trivially_copyable_v<Step>);

std::string Describe(const Step& step);  // "all_reduce #17"

// FAILED_PRECONDITION: what both ranks do.
absl::Status MismatchError(int rank, const Step& step, int peer, const Step& other);

}  // namespace retort::collective
