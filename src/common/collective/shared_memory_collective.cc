#include "common/collective/shared_memory_collective.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"

namespace retort::collective {
namespace {

// Up to here every rank sums everything: one barrier instead of two.
constexpr int64_t kSmallBytes = 16 << 10;
constexpr int64_t kHugePageBytes = int64_t{2} << 20;
constexpr int64_t kPageBytes = 4096;
constexpr int64_t kMaxBufferElements = int64_t{1} << 38;

int64_t AlignUp(int64_t value, int64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

int64_t StageOffset(int world_size) { return AlignUp(GroupControlBytes(world_size), kPageBytes); }

}  // namespace

int64_t GroupSegmentBytes(int world_size) {
  return StageOffset(world_size) + 2 * kStageHalfBytes * world_size;
}

SharedMemoryCollective::SharedMemoryCollective(std::string name,
                                               std::unique_ptr<GroupMember> member,
                                               std::shared_ptr<std::byte> segment,
                                               SharedMemorySource memory,
                                               const CollectiveOptions& options)
    : name_(std::move(name)),
      member_(std::move(member)),
      segment_(std::move(segment)),
      memory_(std::move(memory)),
      options_(options) {}

Step SharedMemoryCollective::NextStep(Operation operation, ElementType type, int64_t count) {
  return {.operation = operation, .type = type, .number = ++operations_, .count = count};
}

std::byte* SharedMemoryCollective::StageHalf(int rank) const {
  return segment_.get() + StageOffset(world_size()) +
         (2 * rank + static_cast<int64_t>(chunks_ % 2)) * kStageHalfBytes;
}

absl::Status SharedMemoryCollective::Barrier() {
  return member_->Barrier(NextStep(Operation::kBarrier, ElementType::kByte, 0));
}

void SharedMemoryCollective::Abort(absl::string_view reason) {
  member_
      ->Break(absl::AbortedError(
          absl::StrCat("rank ", rank(), " aborted the group: ", reason.substr(0, 256))))
      .IgnoreError();
}

absl::StatusOr<SharedMemoryCollective::Buffer> SharedMemoryCollective::MapBuffer(int64_t bytes) {
  Buffer buffer;
  buffer.bytes = bytes;
  buffer.stride = AlignUp(bytes, bytes >= kHugePageBytes ? kHugePageBytes : kPageBytes);
  const std::string name = absl::StrCat(name_, "/buffer", buffers_.size());
  RETORT_ASSIGN_OR_RETURN(buffer.memory,
                          memory_.open(name, buffer.stride * world_size(), options_.deadline));
  return buffer;
}

absl::StatusOr<at::Tensor> SharedMemoryCollective::AllocateBuffer(int64_t elements) {
  if (elements < 0 || elements > kMaxBufferElements) {
    return absl::InvalidArgumentError(absl::StrCat("allocate_buffer: ", elements, " elements"));
  }
  RETORT_RETURN_IF_ERROR(member_->Failure());
  Step step = NextStep(Operation::kAllocate, ElementType::kFloat32, elements);
  // Before the memory: ranks that ask for different sizes should hear so, and not what the broker
  // says of it.
  RETORT_RETURN_IF_ERROR(member_->Barrier(step));
  const int64_t bytes = std::max<int64_t>(elements, 1) * static_cast<int64_t>(sizeof(float));
  absl::StatusOr<Buffer> buffer = MapBuffer(bytes);
  if (!buffer.ok()) {
    return member_->Break(
        WithContext(buffer.status(), absl::StrCat("rank ", rank(), " in ", Describe(step))));
  }
  ++step.stage;
  RETORT_RETURN_IF_ERROR(member_->Barrier(step));
  if (rank() == 0) {
    RETORT_RETURN_IF_ERROR(memory_.drop(absl::StrCat(name_, "/buffer", buffers_.size())));
  }
  buffers_.push_back(*buffer);
  std::byte* const part = buffer->memory.get() + rank() * buffer->stride;
  try {
    return at::from_blob(
        part, {elements}, [memory = buffer->memory](void*) mutable { memory.reset(); },
        at::TensorOptions().dtype(at::kFloat));
  } catch (const std::exception& error) {
    return absl::ResourceExhaustedError(error.what());
  }
}

SharedMemoryCollective::Place SharedMemoryCollective::Find(const void* data, int64_t bytes) const {
  const auto address = reinterpret_cast<uintptr_t>(data);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const Buffer& buffer = buffers_[i];
    const auto start = reinterpret_cast<uintptr_t>(buffer.memory.get() + rank() * buffer.stride);
    if (address >= start && address + bytes <= start + buffer.bytes) {
      return {static_cast<int>(i), static_cast<int64_t>(address - start)};
    }
  }
  return {};
}

absl::Status SharedMemoryCollective::ReduceInPlace(void* data, int64_t count, ElementType type,
                                                   Memory) {
  Step step = NextStep(Operation::kAllReduce, type, count);
  const int64_t bytes = count * ElementBytes(type);
  if (bytes == 0 || world_size() == 1) return member_->Barrier(step);
  if (bytes <= kSmallBytes) return ReduceSmall(data, step);
  const Place place = Find(data, bytes);
  if (place.index < 0) return ReduceStaged(data, step);
  // Distinct for every (buffer, offset), and never 0: offsets stay below 2^41.
  step.place = (int64_t{place.index} + 1) << 42 | place.offset;
  return ReduceInBuffer(place, step);
}

absl::Status SharedMemoryCollective::ReduceSmall(void* data, Step step) {
  const int64_t bytes = step.count * ElementBytes(step.type);
  std::memcpy(StageHalf(rank()), data, bytes);
  RETORT_RETURN_IF_ERROR(member_->Barrier(step));
  std::vector<const void*> sources;
  for (int r = 0; r < world_size(); ++r) sources.push_back(StageHalf(r));
  void* const out[] = {data};
  SumInRankOrder(sources, step.count, step.type, out);
  ++chunks_;
  return absl::OkStatus();
}

absl::Status SharedMemoryCollective::ReduceStaged(void* data, Step step) {
  const int64_t element = ElementBytes(step.type);
  const int64_t chunk = kStageHalfBytes / element;
  auto* const bytes = static_cast<std::byte*>(data);
  for (int64_t first = 0; first < step.count; first += chunk, ++chunks_) {
    const int64_t n = std::min(chunk, step.count - first);
    std::byte* const own = StageHalf(rank());
    std::memcpy(own, bytes + first * element, n * element);
    RETORT_RETURN_IF_ERROR(member_->Barrier(step));
    ++step.stage;
    RETORT_RETURN_IF_ERROR(Failpoint("collective.reduce"));
    const Slice slice = SliceOfRank(n, rank(), world_size());
    std::vector<const void*> sources;
    for (int r = 0; r < world_size(); ++r) sources.push_back(StageHalf(r) + slice.first * element);
    // Nobody else reads this slice of this stage before the next barrier.
    void* const out[] = {own + slice.first * element};
    SumInRankOrder(sources, slice.count(), step.type, out);
    RETORT_RETURN_IF_ERROR(member_->Barrier(step));
    ++step.stage;
    for (int r = 0; r < world_size(); ++r) {
      const Slice part = SliceOfRank(n, r, world_size());
      std::memcpy(bytes + (first + part.first) * element, StageHalf(r) + part.first * element,
                  part.count() * element);
    }
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryCollective::ReduceInBuffer(const Place& place, Step step) {
  RETORT_RETURN_IF_ERROR(member_->Barrier(step));
  RETORT_RETURN_IF_ERROR(Failpoint("collective.reduce"));
  const Buffer& buffer = buffers_[place.index];
  const int64_t element = ElementBytes(step.type);
  const Slice slice = SliceOfRank(step.count, rank(), world_size());
  std::vector<void*> parts;
  for (int r = 0; r < world_size(); ++r) {
    parts.push_back(buffer.memory.get() + r * buffer.stride + place.offset + slice.first * element);
  }
  const std::vector<const void*> sources(parts.begin(), parts.end());
  SumInRankOrder(sources, slice.count(), step.type, absl::MakeSpan(parts));
  ++step.stage;
  return member_->Barrier(step);
}

absl::Status SharedMemoryCollective::Gather(const void* in, int64_t bytes, void* out, Memory) {
  Step step = NextStep(Operation::kAllGather, ElementType::kByte, bytes);
  if (bytes == 0) return member_->Barrier(step);
  for (int64_t first = 0; first < bytes; first += kStageHalfBytes, ++chunks_, ++step.stage) {
    const int64_t n = std::min(kStageHalfBytes, bytes - first);
    std::memcpy(StageHalf(rank()), static_cast<const std::byte*>(in) + first, n);
    RETORT_RETURN_IF_ERROR(member_->Barrier(step));
    for (int r = 0; r < world_size(); ++r) {
      std::memcpy(static_cast<std::byte*>(out) + r * bytes + first, StageHalf(r), n);
    }
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryCollective::BroadcastBytes(void* data, int64_t bytes, int root, Memory) {
  Step step = NextStep(Operation::kBroadcast, ElementType::kByte, bytes);
  step.place = root;
  if (bytes == 0) return member_->Barrier(step);
  auto* const to = static_cast<std::byte*>(data);
  for (int64_t first = 0; first < bytes; first += kStageHalfBytes, ++chunks_, ++step.stage) {
    const int64_t n = std::min(kStageHalfBytes, bytes - first);
    if (rank() == root) std::memcpy(StageHalf(root), to + first, n);
    RETORT_RETURN_IF_ERROR(member_->Barrier(step));
    if (rank() != root) std::memcpy(to + first, StageHalf(root), n);
  }
  return absl::OkStatus();
}

}  // namespace retort::collective
