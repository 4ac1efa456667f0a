// Filters that compare items: sort, unique, min, max, groupby, dictsort.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/compare.h"
#include "common/text/jinja/item_path.h"
#include "common/text/jinja/python_text.h"

namespace retort::text::jinja {
namespace {

// What an item is compared by: a string in lower case unless `case_sensitive`.
Value CaseKey(Runtime& runtime, const Value& value, bool case_sensitive) {
  if (case_sensitive || !value.IsString()) return value;
  return runtime.String(Lower(value.text()));
}

using Keyed = std::pair<Value, Value>;  // What it is compared by, the item.

// Python's sorted(): stable, in descending order too.
void SortKeyed(Runtime& runtime, std::vector<Keyed>* items, bool reverse) {
  std::stable_sort(items->begin(), items->end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? Less(runtime, b.first, a.first) : Less(runtime, a.first, b.first);
  });
}

Value ItemsOf(Runtime& runtime, const std::vector<Keyed>& keyed) {
  std::vector<Value> items;
  for (const Keyed& one : keyed) items.push_back(one.second);
  return runtime.List(std::move(items));
}

Value Sort(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const bool case_sensitive = bound.Flag(1, false);
  std::vector<ItemPath> paths;
  if (!bound.IsNone(2) && bound.At(2).IsString()) {
    for (const absl::string_view part :
         absl::StrSplit(absl::string_view(bound.At(2).text()), ',')) {
      paths.emplace_back(runtime, runtime.String(std::string(part)));
    }
  } else {
    paths.emplace_back(runtime, bound.IsNone(2) ? Value::None() : bound.At(2));
  }
  std::vector<Keyed> keyed;
  for (const Value& item : Iterate(runtime, self)) {
    std::vector<Value> keys;
    for (const ItemPath& path : paths) {
      keys.push_back(CaseKey(runtime, path.Of(runtime, item), case_sensitive));
    }
    // A list, however short: of two equal keys none is compared for its order, so that None, which
    // has none, may stand beside None.
    keyed.emplace_back(runtime.List(std::move(keys)), item);
  }
  SortKeyed(runtime, &keyed, bound.Flag(0, false));
  return ItemsOf(runtime, keyed);
}

Value Unique(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("unique", arguments, {"case_sensitive", "attribute"});
  const ItemPath path(runtime, bound.IsNone(1) ? Value::None() : bound.At(1));
  std::vector<Value> seen, out;
  for (const Value& item : Iterate(runtime, self)) {
    const Value key = CaseKey(runtime, path.Of(runtime, item), bound.Flag(0, false));
    RequireHashable(runtime, key);
    if (std::any_of(seen.begin(), seen.end(),
                    [&](const Value& other) { return Equal(runtime, other, key); })) {
      continue;
    }
    seen.push_back(key);
    out.push_back(item);
  }
  return runtime.Iterator(std::move(out));
}

template <bool largest>
Value Extreme(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound(largest ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const ItemPath path(runtime, bound.IsNone(1) ? Value::None() : bound.At(1));
  const std::vector<Value> items = Iterate(runtime, self);
  if (items.empty()) return runtime.Undefined("the sequence is empty");
  const auto key = [&](const Value& item) {
    return CaseKey(runtime, path.Of(runtime, item), bound.Flag(0, false));
  };
  Value best = items[0], best_key = key(items[0]);
  for (size_t i = 1; i < items.size(); ++i) {
    const Value next = key(items[i]);
    if (!(largest ? Less(runtime, best_key, next) : Less(runtime, next, best_key))) continue;
    best = items[i];
    best_key = next;
  }
  return best;
}

Value Group(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const ItemPath path(runtime, bound.At(0));
  const bool case_sensitive = bound.Flag(2, false);
  const Value* const fallback = bound.IsNone(1) ? nullptr : bound.Find(1);
  std::vector<Keyed> keyed;
  for (const Value& item : Iterate(runtime, self)) {
    keyed.emplace_back(CaseKey(runtime, path.Of(runtime, item, fallback), case_sensitive), item);
  }
  SortKeyed(runtime, &keyed, /*reverse=*/false);
  std::vector<Value> groups;
  for (size_t begin = 0, end = 0; begin < keyed.size(); begin = end) {
    std::vector<Value> members;
    while (end < keyed.size() && Equal(runtime, keyed[end].first, keyed[begin].first)) {
      members.push_back(keyed[end++].second);
    }
    // The name of a group is what its first member has, not that in lower case.
    const Value name = path.Of(runtime, members[0], fallback);
    const Value group = runtime.Tuple({name, runtime.List(std::move(members))});
    group.As<SequenceObject>()->group = true;
    groups.push_back(group);
  }
  return runtime.List(std::move(groups));
}

Value DictSort(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const absl::string_view by = bound.Text(1, "key");
  if (by != "key" && by != "value") Fail("dictsort: argument \"by\" is not \"key\" or \"value\"");
  if (!self.Is(Kind::kDict)) {
    RequireDefined(self);
    Fail(absl::StrCat("dictsort needs a dict, not ", TypeName(self)));
  }
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : self.As<DictObject>()->entries) {
    keyed.emplace_back(CaseKey(runtime, by == "key" ? key : value, bound.Flag(0, false)),
                       runtime.Tuple({key, value}));
  }
  SortKeyed(runtime, &keyed, bound.Flag(2, false));
  return ItemsOf(runtime, keyed);
}

}  // namespace

absl::Span<const NamedBuiltin> OrderFilters() {
  static constexpr NamedBuiltin kFilters[] = {
      {"sort", Sort},         {"unique", Unique}, {"min", Extreme<false>},
      {"max", Extreme<true>}, {"groupby", Group}, {"dictsort", DictSort},
  };
  return kFilters;
}

}  // namespace retort::text::jinja
