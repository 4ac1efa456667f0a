// Merging the symbols of one word.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "common/text/merge_table.h"
#include "common/text/word_cache.h"

namespace retort::text {

// Appends what `symbols` (fewer than 2^31) become: the pair of lowest rank is merged, of equal ones
// the leftmost, until no pair merges. O(n log n). `symbols` is overwritten.
void MergeSymbols(const MergeTable& merges, absl::Span<Token> symbols, std::vector<Token>* tokens);

}  // namespace retort::text
