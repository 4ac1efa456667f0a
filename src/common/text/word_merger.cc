#include "common/text/word_merger.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace retort::text {
namespace {

constexpr size_t kShortWord = 40;

// Looks at every pair before each merge: quadratic, and the fastest for few symbols.
void MergeShort(const MergeTable& merges, Token* symbols, size_t count,
                std::vector<Token>* tokens) {
  Merge pairs[kShortWord];  // Of symbols i and i + 1.
  for (size_t i = 0; i + 1 < count; ++i) pairs[i] = merges.Find(symbols[i].id, symbols[i + 1].id);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == kNoMerge) break;
    symbols[best] = {pairs[best].id, symbols[best].bytes + symbols[best + 1].bytes};
    --count;
    std::copy(symbols + best + 2, symbols + count + 1, symbols + best + 1);
    std::copy(pairs + best + 1, pairs + count, pairs + best);
    if (best > 0) pairs[best - 1] = merges.Find(symbols[best - 1].id, symbols[best].id);
    if (best + 1 < count) pairs[best] = merges.Find(symbols[best].id, symbols[best + 1].id);
  }
  tokens->insert(tokens->end(), symbols, symbols + count);
}

// Symbols are a doubly linked list in an array. The heap holds candidate pairs, some of them stale:
// a candidate counts only if the pair that now begins at its place has its rank. Ranks are unique
// to a pair, so that it is the same pair then.
class LongMerger {
 public:
  LongMerger(const MergeTable& merges, absl::Span<const Token> symbols) : merges_(merges) {
    nodes_.reserve(symbols.size());
    const int32_t count = static_cast<int32_t>(symbols.size());
    for (int32_t i = 0; i < count; ++i) {
      nodes_.push_back({symbols[i], i - 1, i + 1 < count ? i + 1 : -1, {kNoMerge, 0}});
    }
    for (int32_t i = 0; i + 1 < count; ++i) {
      nodes_[i].merge = merges_.Find(symbols[i].id, symbols[i + 1].id);
      if (nodes_[i].merge.rank != kNoMerge) heap_.push_back(Candidate(i));
    }
    std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  void Run(std::vector<Token>* tokens) {
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
      const uint64_t candidate = heap_.back();
      heap_.pop_back();
      const int32_t position = static_cast<int32_t>(candidate & 0xFFFFFFFFu);
      if (nodes_[position].merge.rank == static_cast<int32_t>(candidate >> 32)) Apply(position);
    }
    for (int32_t i = 0; i >= 0; i = nodes_[i].next) tokens->push_back(nodes_[i].symbol);
  }

 private:
  struct Node {
    Token symbol;
    int32_t previous, next;
    Merge merge;  // With the next; kNoMerge too once the node is merged into the one before.
  };

  // Orders by rank, then place.
  uint64_t Candidate(int32_t position) const {
    return static_cast<uint64_t>(nodes_[position].merge.rank) << 32 |
           static_cast<uint32_t>(position);
  }

  void Offer(int32_t position) {
    Node& node = nodes_[position];
    node.merge = node.next < 0 ? Merge{kNoMerge, 0}
                               : merges_.Find(node.symbol.id, nodes_[node.next].symbol.id);
    if (node.merge.rank == kNoMerge) return;
    heap_.push_back(Candidate(position));
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  void Apply(int32_t position) {
    Node& left = nodes_[position];
    Node& right = nodes_[left.next];
    left.symbol = {left.merge.id, left.symbol.bytes + right.symbol.bytes};
    right.merge.rank = kNoMerge;
    left.next = right.next;
    if (left.next >= 0) nodes_[left.next].previous = position;
    Offer(position);
    if (left.previous >= 0) Offer(left.previous);
  }

  const MergeTable& merges_;
  std::vector<Node> nodes_;
  std::vector<uint64_t> heap_;
};

}  // namespace

void MergeSymbols(const MergeTable& merges, absl::Span<Token> symbols, std::vector<Token>* tokens) {
  if (symbols.size() <= kShortWord) {
    MergeShort(merges, symbols.data(), symbols.size(), tokens);
  } else {
    LongMerger(merges, symbols).Run(tokens);
  }
}

}  // namespace retort::text
