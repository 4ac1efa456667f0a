#include "common/collective/message_collective.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"
#include "common/collective/rank_sum.h"

namespace retort::collective {
namespace {

// Open MPI moves a megabyte through the caches three times faster than a part of one large message.
constexpr int64_t kReduceChunkBytes = int64_t{1} << 20;
constexpr int64_t kMoveChunkBytes = int64_t{256} << 20;

}  // namespace

MessageCollective::MessageCollective(std::unique_ptr<Messenger> messenger)
    : messenger_(std::move(messenger)),
      rank_(messenger_->rank()),
      world_size_(messenger_->world_size()) {}

absl::Status MessageCollective::Exchange(const std::vector<Message>& receives,
                                         const std::vector<Message>& sends) {
  return messenger_->Exchange(receives, sends, Channel::kData, step_);
}

void MessageCollective::Abort(absl::string_view reason) {
  messenger_
      ->Break(absl::AbortedError(
          absl::StrCat("rank ", rank_, " aborted the group: ", reason.substr(0, 256))))
      .IgnoreError();
}

absl::Status MessageCollective::Agree(Operation operation, ElementType type, int64_t count,
                                      int64_t place) {
  step_ = {.operation = operation,
           .type = type,
           .number = step_.number + 1,
           .count = count,
           .place = place,
           .stage = 0};
  std::vector<Step> others(world_size_, step_);
  std::vector<Message> receives;
  std::vector<Message> sends;
  for (int peer = 0; peer < world_size_; ++peer) {
    if (peer == rank_) continue;
    receives.push_back({peer, &others[peer], sizeof(Step)});
    sends.push_back({peer, &step_, sizeof(Step)});
  }
  RETORT_RETURN_IF_ERROR(messenger_->Exchange(receives, sends, Channel::kStep, step_));
  for (int peer = 0; peer < world_size_; ++peer) {
    if (others[peer] == step_) continue;
    return messenger_->Break(MismatchError(rank_, step_, peer, others[peer]));
  }
  return absl::OkStatus();
}

absl::Status MessageCollective::Barrier() {
  return Agree(Operation::kBarrier, ElementType::kByte, 0, 0);
}

absl::StatusOr<at::Tensor> MessageCollective::AllocateBuffer(int64_t elements) {
  if (elements < 0) {
    return absl::InvalidArgumentError(absl::StrCat("allocate_buffer: ", elements, " elements"));
  }
  RETORT_RETURN_IF_ERROR(Agree(Operation::kAllocate, ElementType::kFloat32, elements, 0));
  try {
    return at::zeros({elements}, at::TensorOptions().dtype(at::kFloat));
  } catch (const std::exception& error) {
    return messenger_->Break(absl::ResourceExhaustedError(error.what()));
  }
}

absl::Status MessageCollective::ReduceInPlace(void* data, int64_t count, ElementType type, Memory) {
  RETORT_RETURN_IF_ERROR(Agree(Operation::kAllReduce, type, count, 0));
  if (world_size_ == 1) return absl::OkStatus();
  const int64_t element = ElementBytes(type);
  const int64_t chunk = kReduceChunkBytes / element;
  for (int64_t first = 0; first < count; first += chunk) {
    RETORT_RETURN_IF_ERROR(ReduceChunk(static_cast<std::byte*>(data) + first * element,
                                       std::min(chunk, count - first), type));
  }
  return absl::OkStatus();
}

// Each rank gets its slice from all, sums it in rank order and sends the sum to all.
absl::Status MessageCollective::ReduceChunk(std::byte* data, int64_t count, ElementType type) {
  const int64_t element = ElementBytes(type);
  const Slice own = SliceOfRank(count, rank_, world_size_);
  const int64_t own_bytes = own.count() * element;
  scratch_.resize(std::max<size_t>(scratch_.size(), own_bytes * world_size_));
  std::byte* const mine = data + own.first * element;
  std::vector<const void*> sources(world_size_, mine);
  std::vector<Message> pieces_in;  // Their pieces of my slice.
  std::vector<Message> slices;     // Their slices: my pieces go out, their sums come in.
  std::vector<Message> sums_out;
  for (int peer = 0; peer < world_size_; ++peer) {
    if (peer == rank_) continue;
    const Slice theirs = SliceOfRank(count, peer, world_size_);
    sources[peer] = scratch_.data() + peer * own_bytes;
    pieces_in.push_back({peer, scratch_.data() + peer * own_bytes, own_bytes});
    slices.push_back({peer, data + theirs.first * element, theirs.count() * element});
    sums_out.push_back({peer, mine, own_bytes});
  }
  RETORT_RETURN_IF_ERROR(Exchange(pieces_in, slices));
  RETORT_RETURN_IF_ERROR(Failpoint("collective.reduce"));
  void* const out[] = {mine};
  SumInRankOrder(sources, own.count(), type, out);
  return Exchange(slices, sums_out);
}

absl::Status MessageCollective::Gather(const void* in, int64_t bytes, void* out, Memory) {
  RETORT_RETURN_IF_ERROR(Agree(Operation::kAllGather, ElementType::kByte, bytes, 0));
  auto* const to = static_cast<std::byte*>(out);
  if (bytes > 0) std::memcpy(to + rank_ * bytes, in, bytes);
  for (int64_t first = 0; first < bytes; first += kMoveChunkBytes) {
    const int64_t n = std::min(kMoveChunkBytes, bytes - first);
    std::vector<Message> receives;
    std::vector<Message> sends;
    for (int peer = 0; peer < world_size_; ++peer) {
      if (peer == rank_) continue;
      receives.push_back({peer, to + peer * bytes + first, n});
      sends.push_back({peer, to + rank_ * bytes + first, n});
    }
    RETORT_RETURN_IF_ERROR(Exchange(receives, sends));
  }
  return absl::OkStatus();
}

absl::Status MessageCollective::BroadcastBytes(void* data, int64_t bytes, int root, Memory) {
  RETORT_RETURN_IF_ERROR(Agree(Operation::kBroadcast, ElementType::kByte, bytes, root));
  for (int64_t first = 0; first < bytes; first += kMoveChunkBytes) {
    std::byte* const part = static_cast<std::byte*>(data) + first;
    const int64_t n = std::min(kMoveChunkBytes, bytes - first);
    std::vector<Message> receives;
    std::vector<Message> sends;
    if (rank_ != root) receives.push_back({root, part, n});
    for (int peer = 0; rank_ == root && peer < world_size_; ++peer) {
      if (peer != root) sends.push_back({peer, part, n});
    }
    RETORT_RETURN_IF_ERROR(Exchange(receives, sends));
  }
  return absl::OkStatus();
}

}  // namespace retort::collective
