// Which sequence holds which blocks of a KV cache: counts only, no memory and no Torch. A block is
// kBlockTokens positions of every layer. Sequences of one prompt share its blocks; who writes into
// a shared block first takes a copy.
//
// Blocks are promised before they are taken: a sequence is opened for its longest length or not at
// all, so that one that runs never waits for memory. Invariants: a block is free or has holders;
// promised() <= free_blocks(). Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace retort::model {

inline constexpr int64_t kBlockTokens = 16;

inline int64_t BlocksFor(int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

class BlockPool {
 public:
  explicit BlockPool(int64_t blocks);
  BlockPool(const BlockPool&) = delete;  // Sequences point to it.
  BlockPool& operator=(const BlockPool&) = delete;

  int64_t blocks() const { return static_cast<int64_t>(holders_.size()); }
  int64_t free_blocks() const { return static_cast<int64_t>(free_.size()); }
  int64_t promised() const { return promised_; }
  int64_t holders(int32_t block) const { return holders_[block]; }

 private:
  friend class BlockSequence;

  bool Promise(int64_t blocks);  // False if that many are not left.
  void Withdraw(int64_t blocks);
  int32_t Take();  // Of the promised ones. The block that was freed last, or the lowest new one.
  void Hold(int32_t block);
  void Release(int32_t block);

  std::vector<int32_t> holders_;
  std::vector<int32_t> free_;  // Taken from the back.
  int64_t promised_ = 0;
};

// Copy the contents of one block to another before writing.
struct BlockCopy {
  int32_t from = 0;
  int32_t to = 0;

  bool operator==(const BlockCopy&) const = default;
};

// The blocks of one sequence, given back when it is destroyed. The pool must outlive it.
class BlockSequence {
 public:
  // An empty sequence that may grow to `capacity` tokens; none if the pool cannot promise that.
  static std::optional<BlockSequence> Open(BlockPool* pool, int64_t capacity);

  // A sequence that will begin with the `length` tokens that another one will have by the time of
  // Share, and may grow to `capacity` >= length. What it does not share is promised now.
  static std::optional<BlockSequence> OpenSharing(BlockPool* pool, int64_t length,
                                                  int64_t capacity);

  BlockSequence(BlockSequence&& other) noexcept;
  BlockSequence& operator=(BlockSequence&& other) noexcept;
  ~BlockSequence();

  // Takes over all tokens of `other`, without copying. Only once, of a sequence opened by
  // OpenSharing with other.length(). If that is no multiple of kBlockTokens, `other` may not grow
  // any more: the copy of its last block is promised to those who share it.
  void Share(const BlockSequence& other);

  // Makes `tokens` more positions writable. If the first of them lies in a block that others hold
  // too, this sequence gets a block of its own, into which the returned copy must be made first.
  std::optional<BlockCopy> Append(int64_t tokens);

  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  // Block i holds positions [i * kBlockTokens, (i + 1) * kBlockTokens).
  const std::vector<int32_t>& blocks() const { return blocks_; }

 private:
  BlockSequence(BlockPool* pool, int64_t capacity, int64_t promised)
      : pool_(pool), capacity_(capacity), promised_(promised) {}

  int32_t Take();
  void Clear();

  BlockPool* pool_;
  int64_t capacity_;
  int64_t promised_;  // Blocks of the pool's promise that are for this sequence.
  int64_t length_ = 0;
  std::vector<int32_t> blocks_;
};

}  // namespace retort::model
