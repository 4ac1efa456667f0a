#include "common/text/edit_map.h"

#include <algorithm>

namespace retort::text {
namespace {

// `edit`: the last that begins at or before the byte, nullptr if none does.
int32_t SourceBegin(const Edit* edit, int32_t begin) {
  if (edit == nullptr) return begin;
  return begin < edit->target_end ? edit->source_begin
                                  : edit->source_end + (begin - edit->target_end);
}

int32_t SourceEnd(const Edit* edit, int32_t end) {
  if (edit == nullptr) return end;
  return end - 1 < edit->target_end ? edit->source_end
                                    : edit->source_end + (end - edit->target_end);
}

}  // namespace

ByteSpan EditMap::Source(int32_t begin, int32_t end) const {
  const auto last_at = [&](int32_t target) -> const Edit* {
    const auto behind =
        std::upper_bound(edits_.begin(), edits_.end(), target,
                         [](int32_t at, const Edit& edit) { return at < edit.target_begin; });
    return behind == edits_.begin() ? nullptr : &*(behind - 1);
  };
  const int32_t source_begin = SourceBegin(last_at(begin), begin);
  if (begin == end) return {source_begin, source_begin};
  return {source_begin, SourceEnd(last_at(end - 1), end)};
}

void EditWalker::AdvanceTo(int32_t target) {
  while (known_ < edits_->size() && (*edits_)[known_].target_begin <= target) ++known_;
}

ByteSpan EditWalker::Source(int32_t begin, int32_t end) {
  const auto last = [&] { return known_ == 0 ? nullptr : &(*edits_)[known_ - 1]; };
  if (end < last_end_) known_ = 0;
  last_end_ = end;
  AdvanceTo(begin);
  const int32_t source_begin = SourceBegin(last(), begin);
  if (begin == end) return {source_begin, source_begin};
  AdvanceTo(end - 1);
  return {source_begin, SourceEnd(last(), end)};
}

// Works in the coordinates of the text between the two maps. A group is a run of edits of either
// map that overlap there; before and behind it the three texts differ by constant shifts.
EditMap EditMap::Compose(const EditMap& first, const EditMap& second) {
  if (first.empty()) return second;
  if (second.empty()) return first;
  EditMap out;
  auto a = first.edits_.begin();
  auto b = second.edits_.begin();
  int32_t a_shift = 0;  // middle - source
  int32_t b_shift = 0;  // target - middle
  while (a != first.edits_.end() || b != second.edits_.end()) {
    // An insertion at the place where an edit begins stands before it.
    const bool from_a = b == second.edits_.end() ||
                        (a != first.edits_.end() &&
                         (a->target_begin < b->source_begin ||
                          (a->target_begin == b->source_begin &&
                           (a->target_begin == a->target_end || b->source_begin < b->source_end))));
    const int32_t low = from_a ? a->target_begin : b->source_begin;
    int32_t high = low;
    int32_t a_behind = a_shift, b_behind = b_shift;
    bool started = false;
    while (true) {
      if (a != first.edits_.end() && (started ? a->target_begin < high : from_a)) {
        high = std::max(high, a->target_end);
        a_behind = a->target_end - a->source_end;
        ++a;
      } else if (b != second.edits_.end() && (started ? b->source_begin < high : !from_a)) {
        high = std::max(high, b->source_end);
        b_behind = b->target_end - b->source_end;
        ++b;
      } else {
        break;
      }
      started = true;
    }
    out.Add({low - a_shift, high - a_behind, low + b_shift, high + b_behind});
    a_shift = a_behind;
    b_shift = b_behind;
  }
  return out;
}

}  // namespace retort::text
