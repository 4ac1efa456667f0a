#include "common/collective/operation_step.h"

#include "absl/strings/str_cat.h"

namespace retort::collective {

absl::string_view NameOf(Operation operation) {
  switch (operation) {
    case Operation::kJoin:
      return "join";
    case Operation::kAllReduce:
      return "all_reduce";
    case Operation::kAllGather:
      return "all_gather";
    case Operation::kBroadcast:
      return "broadcast";
    case Operation::kBarrier:
      return "barrier";
    case Operation::kAllocate:
      return "allocate_buffer";
  }
  return "unknown";
}

std::string Describe(const Step& step) {
  return absl::StrCat(NameOf(step.operation), " #", step.number);
}

absl::Status MismatchError(int rank, const Step& step, int peer, const Step& other) {
  const auto details = [](const Step& s) {
    return absl::StrCat(Describe(s), " (", s.count, " elements of type ", static_cast<int>(s.type),
                        ", place ", s.place, ", stage ", s.stage, ")");
  };
  return absl::FailedPreconditionError(absl::StrCat(
      "the ranks call different operations: rank ", rank, " is in ", details(step), ", rank ", peer,
      " in ", details(other), "; all ranks must make the same calls in the same order"));
}

}  // namespace retort::collective
