// Collectives over point-to-point messages: what `mpi` does, without MPI in it. Internal to
// collective/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "common/collective/operation_step.h"

namespace retort::collective {

enum class Channel { kStep, kData };

struct Message {
  int peer = 0;
  void* data = nullptr;  // Read if sent, written if received.
  int64_t bytes = 0;     // <= 2^30, the same at both ends.
};

// Moves messages between the ranks of one group. Messages of one channel between two ranks keep
// their order.
class Messenger {
 public:
  virtual ~Messenger() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;
  // Sends and receives all of them, at once. `step` is for the text of an error, which breaks the
  // group.
  virtual absl::Status Exchange(const std::vector<Message>& receives,
                                const std::vector<Message>& sends, Channel channel,
                                const Step& step) = 0;
  // Breaks the group for all ranks unless it is broken; returns the first failure. Thread-safe.
  virtual absl::Status Break(const absl::Status& reason) = 0;
};

class MessageCollective final : public Collective {
 public:
  explicit MessageCollective(std::unique_ptr<Messenger> messenger);

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  absl::Status Barrier() override;
  absl::StatusOr<at::Tensor> AllocateBuffer(int64_t elements) override;  // Ordinary memory.
  void Abort(absl::string_view reason) override;

 protected:
  absl::Status ReduceInPlace(void* data, int64_t count, ElementType type, Memory) override;
  absl::Status Gather(const void* in, int64_t bytes, void* out, Memory) override;
  absl::Status BroadcastBytes(void* data, int64_t bytes, int root, Memory) override;

 private:
  // Starts the next operation: every rank tells every other what it does; they must do the same.
  absl::Status Agree(Operation operation, ElementType type, int64_t count, int64_t place);
  absl::Status ReduceChunk(std::byte* data, int64_t count, ElementType type);
  absl::Status Exchange(const std::vector<Message>& receives, const std::vector<Message>& sends);

  const std::unique_ptr<Messenger> messenger_;
  const int rank_;
  const int world_size_;
  Step step_;
  std::vector<std::byte> scratch_;  // The peers' pieces of one chunk.
};

}  // namespace retort::collective
