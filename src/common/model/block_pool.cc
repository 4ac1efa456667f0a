#include "common/model/block_pool.h"

#include <utility>

#include "common/base/check.h"

namespace retort::model {

BlockPool::BlockPool(int64_t blocks) : holders_(blocks, 0) {
  free_.reserve(blocks);
  for (int64_t block = blocks; block > 0; --block) {
    free_.push_back(static_cast<int32_t>(block - 1));
  }
}

bool BlockPool::Promise(int64_t blocks) {
  if (free_blocks() - promised_ < blocks) return false;
  promised_ += blocks;
  return true;
}

void BlockPool::Withdraw(int64_t blocks) {
  RETORT_CHECK(blocks >= 0 && blocks <= promised_) << blocks << " of " << promised_;
  promised_ -= blocks;
}

int32_t BlockPool::Take() {
  RETORT_CHECK(promised_ > 0 && !free_.empty()) << "a block that was not promised";
  const int32_t block = free_.back();
  free_.pop_back();
  holders_[block] = 1;
  --promised_;
  return block;
}

void BlockPool::Hold(int32_t block) {
  RETORT_CHECK(holders_[block] > 0) << "block " << block << " is free";
  ++holders_[block];
}

void BlockPool::Release(int32_t block) {
  RETORT_CHECK(holders_[block] > 0) << "block " << block << " is free";
  if (--holders_[block] == 0) free_.push_back(block);
}

std::optional<BlockSequence> BlockSequence::Open(BlockPool* pool, int64_t capacity) {
  return OpenSharing(pool, 0, capacity);
}

std::optional<BlockSequence> BlockSequence::OpenSharing(BlockPool* pool, int64_t length,
                                                        int64_t capacity) {
  RETORT_CHECK(length >= 0 && length <= capacity) << length << " of " << capacity;
  // A block that the shared part fills only partly is copied when it is written.
  const int64_t own = BlocksFor(capacity) - length / kBlockTokens;
  if (!pool->Promise(own)) return std::nullopt;
  return BlockSequence(pool, capacity, own);
}

BlockSequence::BlockSequence(BlockSequence&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      capacity_(other.capacity_),
      promised_(other.promised_),
      length_(other.length_),
      blocks_(std::move(other.blocks_)) {}

BlockSequence& BlockSequence::operator=(BlockSequence&& other) noexcept {
  if (this == &other) return *this;
  Clear();
  pool_ = std::exchange(other.pool_, nullptr);
  capacity_ = other.capacity_;
  promised_ = other.promised_;
  length_ = other.length_;
  blocks_ = std::move(other.blocks_);
  return *this;
}

BlockSequence::~BlockSequence() { Clear(); }

void BlockSequence::Clear() {
  if (pool_ == nullptr) return;
  // Backwards, so that the next sequence takes them in the order of this one.
  for (size_t i = blocks_.size(); i > 0; --i) pool_->Release(blocks_[i - 1]);
  pool_->Withdraw(promised_);
  pool_ = nullptr;
}

void BlockSequence::Share(const BlockSequence& other) {
  const int64_t own = BlocksFor(capacity_) - other.length_ / kBlockTokens;
  RETORT_CHECK(length_ == 0 && other.length_ <= capacity_ && promised_ >= own &&
               pool_ == other.pool_)
      << "a sequence of " << capacity_ << " tokens shares " << other.length_;
  blocks_ = other.blocks_;
  length_ = other.length_;
  for (const int32_t block : blocks_) pool_->Hold(block);
}

int32_t BlockSequence::Take() {
  RETORT_CHECK(promised_ > 0) << "a sequence of " << capacity_ << " tokens outgrew its promise";
  --promised_;
  return pool_->Take();
}

std::optional<BlockCopy> BlockSequence::Append(int64_t tokens) {
  RETORT_CHECK(tokens >= 0 && length_ + tokens <= capacity_)
      << length_ << " + " << tokens << " tokens of " << capacity_;
  std::optional<BlockCopy> copy;
  if (tokens > 0 && length_ % kBlockTokens != 0 && pool_->holders(blocks_.back()) > 1) {
    copy = BlockCopy{blocks_.back(), Take()};
    pool_->Release(copy->from);
    blocks_.back() = copy->to;
  }
  length_ += tokens;
  while (static_cast<int64_t>(blocks_.size()) < BlocksFor(length_)) blocks_.push_back(Take());
  return copy;
}

}  // namespace retort::model
