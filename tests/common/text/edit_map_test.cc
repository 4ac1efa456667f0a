#include "common/text/edit_map.h"

#include <algorithm>
#include <ostream>
#include <vector>

#include "common/base/rng.h"
#include "gtest/gtest.h"

namespace retort::text {

void PrintTo(const ByteSpan& span, std::ostream* out) {
  *out << "[" << span.begin << "," << span.end << ")";
}

namespace {

EditMap Map(const std::vector<Edit>& edits) {
  EditMap map;
  for (const Edit& edit : edits) map.Add(edit);
  return map;
}

TEST(EditMapTest, Source_EachKindOfEdit_WholeUnit) {
  // "ab cd" -> "XXab_cd": two bytes in front, and a space that became three.
  const EditMap map = Map({{0, 0, 0, 2}, {2, 3, 4, 7}});
  const struct {
    const char* name;
    int32_t begin, end;
    ByteSpan want;
  } cases[] = {
      {"the prefix alone", 0, 2, {0, 0}},
      {"prefix and a byte", 0, 3, {0, 1}},
      {"between the edits", 2, 4, {0, 2}},
      {"the space", 4, 7, {2, 3}},
      {"a third of the space", 5, 6, {2, 3}},
      {"space and more", 4, 8, {2, 4}},
      {"behind", 7, 9, {3, 5}},
      {"nothing", 8, 8, {4, 4}},
      {"up to half of the space", 2, 5, {0, 3}},
  };
  for (const auto& c : cases) EXPECT_EQ(map.Source(c.begin, c.end), c.want) << c.name;
}

TEST(EditMapTest, Source_DeletedBytes_CoveredWhereTheyAreInside) {
  const EditMap map = Map({{1, 3, 1, 1}});  // "aXXb" -> "ab"
  EXPECT_EQ(map.Source(0, 2), (ByteSpan{0, 4}));
  EXPECT_EQ(map.Source(0, 1), (ByteSpan{0, 1}));
  EXPECT_EQ(map.Source(1, 2), (ByteSpan{3, 4}));
}

TEST(EditMapTest, Compose_OverlappingEdits_BecomeOne) {
  // Source "abcd" -> "aXYd" (bc rewritten) -> "aXZZ" (Yd rewritten).
  const EditMap composed = EditMap::Compose(Map({{1, 3, 1, 3}}), Map({{2, 4, 2, 4}}));
  EXPECT_EQ(composed.edits(), (std::vector<Edit>{{1, 4, 1, 4}}));
}

TEST(EditMapTest, Compose_EditsApart_KeepTheirShifts) {
  // A prefix of three bytes, then every space replaced by three bytes: what Llama's files ask for.
  const EditMap composed =
      EditMap::Compose(Map({{0, 0, 0, 3}}), Map({{3, 4, 3, 6}, {6, 7, 8, 11}}));
  EXPECT_EQ(composed.edits(), (std::vector<Edit>{{0, 0, 0, 3}, {0, 1, 3, 6}, {3, 4, 8, 11}}));
}

TEST(EditMapTest, Compose_InsertionAtTheBeginOfAnEdit_StaysApart) {
  const EditMap composed = EditMap::Compose(Map({{1, 2, 1, 3}}), Map({{1, 1, 1, 2}}));
  EXPECT_EQ(composed.edits(), (std::vector<Edit>{{1, 1, 1, 2}, {1, 2, 2, 4}}));
}

// Random edits of a text of `size` bytes.
EditMap RandomEdits(CounterRng& rng, int32_t size, int32_t* target_size) {
  EditMap map;
  int32_t source = 0, target = 0;
  while (source < size) {
    const int32_t equal = static_cast<int32_t>(rng.NextBelow(4));
    source = std::min(source + equal + 1, size);
    target =
        (map.empty() ? 0 : map.edits().back().target_end - map.edits().back().source_end) + source;
    const int32_t removed = std::min(static_cast<int32_t>(rng.NextBelow(3)), size - source);
    const int32_t added = static_cast<int32_t>(rng.NextBelow(3));
    if (removed + added > 0) map.Add({source, source + removed, target, target + added});
    source += removed;
  }
  *target_size =
      size + (map.empty() ? 0 : map.edits().back().target_end - map.edits().back().source_end);
  return map;
}

TEST(EditMapTest, RandomMaps_ComposedCoversWhatStepsCover) {
  const uint64_t seed = 11;
  for (uint64_t round = 0; round < 2000; ++round) {
    CounterRng rng(seed, RngPurpose::kData, round);
    int32_t middle = 0, target = 0;
    const EditMap first = RandomEdits(rng, 12, &middle);
    const EditMap second = RandomEdits(rng, middle, &target);
    const EditMap both = EditMap::Compose(first, second);
    for (int32_t at = 0; at < target; ++at) {
      const ByteSpan step = second.Source(at, at + 1);
      const ByteSpan stepwise = first.Source(step.begin, step.end);
      const ByteSpan at_once = both.Source(at, at + 1);
      // Joined edits cover more, never less.
      ASSERT_LE(at_once.begin, stepwise.begin) << "round " << round << " byte " << at;
      ASSERT_GE(at_once.end, stepwise.end) << "round " << round << " byte " << at;
    }
  }
}

TEST(EditWalkerTest, RisingRanges_SameAsLookUp) {
  for (uint64_t round = 0; round < 500; ++round) {
    CounterRng rng(5, RngPurpose::kData, round);
    int32_t target = 0;
    const EditMap map = RandomEdits(rng, 30, &target);
    EditWalker walker(map);
    for (int32_t begin = 0; begin < target;) {
      const int32_t end = std::min(begin + static_cast<int32_t>(rng.NextBelow(4)), target);
      ASSERT_EQ(walker.Source(begin, end), map.Source(begin, end)) << "round " << round;
      begin = std::max(end, begin + (end == begin ? 1 : 0));
    }
  }
}

}  // namespace
}  // namespace retort::text
