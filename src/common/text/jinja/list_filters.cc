// Filters over the items of a sequence, in its own order.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/text/jinja/attribute.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/compare.h"
#include "common/text/jinja/item_path.h"
#include "common/text/jinja/objects.h"
#include "common/text/jinja/print.h"

namespace retort::text::jinja {
namespace {

Value Length(Runtime&, const Value& self, const Arguments& arguments) {
  NoArguments("length", arguments);
  const auto count = [](size_t size) { return Value::Int(static_cast<int64_t>(size)); };
  if (self.IsUndefined()) return Value::Int(0);
  if (self.IsString()) return Value::Int(self.As<StringObject>()->length);
  if (self.Is(Kind::kDict)) return count(self.As<DictObject>()->entries.size());
  if (self.Is(Kind::kLoop)) return count(self.As<LoopObject>()->Length());
  if (self.IsSequence() && !self.Is(Kind::kIterator)) {
    return count(self.As<SequenceObject>()->items.size());
  }
  Fail(absl::StrCat("a value of type ", TypeName(self), " has no length",
                    self.Is(Kind::kIterator) ? "; write \"| list\" behind it" : ""));
}

Value List(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("list", arguments);
  return runtime.List(Iterate(runtime, self));
}

Value Join(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("join", arguments, {"d", "attribute"});
  const std::string separator = bound.Find(0) == nullptr ? "" : ToText(runtime, bound.At(0));
  const ItemPath path(runtime, bound.IsNone(1) ? Value::None() : bound.At(1));
  std::string out;
  bool first = true;
  for (const Value& item : Iterate(runtime, self)) {
    if (!std::exchange(first, false)) out += separator;
    const std::string text = ToText(runtime, path.Of(runtime, item));
    runtime.ChargeBytes(separator.size() + text.size());
    out += text;
  }
  return runtime.String(std::move(out));
}

Value First(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("first", arguments);
  if (self.Is(Kind::kIterator)) {
    auto* const sequence = self.As<SequenceObject>();
    if (sequence->next < sequence->items.size()) return sequence->items[sequence->next++];
    return runtime.Undefined("the sequence has no first item: it is empty");
  }
  const std::vector<Value> items = Iterate(runtime, self);
  return items.empty() ? runtime.Undefined("the sequence has no first item: it is empty")
                       : items.front();
}

Value Last(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("last", arguments);
  if (self.Is(Kind::kIterator)) Fail("a generator has no last item; write \"| list\" behind it");
  const std::vector<Value> items = Iterate(runtime, self);
  return items.empty() ? runtime.Undefined("the sequence has no last item: it is empty")
                       : items.back();
}

Value Reverse(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("reverse", arguments);
  std::vector<Value> items = Iterate(runtime, self);
  std::reverse(items.begin(), items.end());
  if (self.IsString()) {
    std::string out;
    for (const Value& item : items) out += item.text();
    return runtime.String(std::move(out));
  }
  return self.Is(Kind::kIterator) ? runtime.List(std::move(items))
                                  : runtime.Iterator(std::move(items));
}

// A filter or a test by name, with the arguments behind the first `skip`.
class NamedCall {
 public:
  NamedCall(const Arguments& arguments, size_t skip, bool filter) {
    const Value& name = arguments.positional[skip - 1];
    if (!name.IsString()) {
      RequireDefined(name);
      Fail(absl::StrCat("the name of a ", filter ? "filter" : "test", " is of type ",
                        TypeName(name)));
    }
    call_ = filter ? FindFilter(name.text()) : FindTest(name.text());
    if (call_ == nullptr) Refuse(filter ? UnknownFilter(name.text()) : UnknownTest(name.text()));
    arguments_.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(skip),
                                 arguments.positional.end());
    arguments_.keyword = arguments.keyword;
  }

  Value operator()(Runtime& runtime, const Value& item) const {
    const Runtime::Depth depth(runtime);
    runtime.Charge();
    return call_(runtime, item, arguments_);
  }

 private:
  Builtin call_;
  Arguments arguments_;
};

// map("filter", ...) or map(attribute="a.b", default=...).
Value Map(Runtime& runtime, const Value& self, const Arguments& arguments) {
  std::vector<Value> out;
  if (arguments.positional.empty()) {
    const Bound bound("map", arguments, {"attribute", "default"}, 1);
    const ItemPath path(runtime, bound.At(0));
    const Value* const fallback = bound.IsNone(1) ? nullptr : bound.Find(1);
    for (const Value& item : Iterate(runtime, self)) {
      out.push_back(path.Of(runtime, item, fallback));
    }
    return runtime.Iterator(std::move(out));
  }
  const NamedCall filter(arguments, 1, /*filter=*/true);
  for (const Value& item : Iterate(runtime, self)) out.push_back(filter(runtime, item));
  return runtime.Iterator(std::move(out));
}

// The items, or of each the attribute named first, that pass a test: without one, that are true.
template <bool keep, bool by_attribute>
Value Choose(Runtime& runtime, const Value& self, const Arguments& arguments) {
  constexpr size_t kName = by_attribute ? 1 : 0;
  if (by_attribute && arguments.positional.empty()) Fail("the name of an attribute is missing");
  const ItemPath path(runtime, by_attribute ? arguments.positional[0] : Value::None());
  const bool has_test = arguments.positional.size() > kName;
  std::optional<NamedCall> test;
  if (has_test) test.emplace(arguments, kName + 1, /*filter=*/false);
  std::vector<Value> out;
  for (const Value& item : Iterate(runtime, self)) {
    const Value subject = path.Of(runtime, item);
    if (Truth(has_test ? (*test)(runtime, subject) : subject) == keep) out.push_back(item);
  }
  return runtime.Iterator(std::move(out));
}

Value ItemPairs(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("items", arguments);
  std::vector<Value> out;
  if (self.IsUndefined()) return runtime.Iterator(std::move(out));
  if (!self.Is(Kind::kDict)) Fail(absl::StrCat("items needs a dict, not ", TypeName(self)));
  for (const auto& [key, value] : self.As<DictObject>()->entries) {
    out.push_back(runtime.Tuple({key, value}));
  }
  return runtime.Iterator(std::move(out));
}

Value Batch(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("batch", arguments, {"linecount", "fill_with"}, 1);
  const int64_t size = bound.Int(0, 1);
  if (size < 1) Fail("batch: argument \"linecount\" is not positive");
  std::vector<Value> rows, row;
  for (const Value& item : Iterate(runtime, self)) {
    if (static_cast<int64_t>(row.size()) == size)
      rows.push_back(runtime.List(std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    while (!bound.IsNone(1) && static_cast<int64_t>(row.size()) < size) {
      runtime.Charge();
      row.push_back(bound.At(1));
    }
    rows.push_back(runtime.List(std::move(row)));
  }
  return runtime.Iterator(std::move(rows));
}

Value Slice(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("slice", arguments, {"slices", "fill_with"}, 1);
  const int64_t slices = bound.Int(0, 1);
  if (slices < 1) Fail("slice: argument \"slices\" is not positive");
  const std::vector<Value> items = Iterate(runtime, self);
  const auto count = static_cast<int64_t>(items.size());
  const int64_t length = count / slices, longer = count % slices;
  std::vector<Value> columns;
  auto next = items.begin();
  for (int64_t i = 0; i < slices; ++i) {
    runtime.Charge();
    const auto end = next + static_cast<std::ptrdiff_t>(length + (i < longer ? 1 : 0));
    std::vector<Value> column(next, end);
    if (!bound.IsNone(1) && longer != 0 && i >= longer) column.push_back(bound.At(1));
    columns.push_back(runtime.List(std::move(column)));
    next = end;
  }
  return runtime.Iterator(std::move(columns));
}

Value Default(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("default", arguments, {"default_value", "boolean"});
  if (!self.IsUndefined() && !(bound.Flag(1, false) && !Truth(self))) return self;
  return bound.Find(0) == nullptr ? runtime.String("") : bound.At(0);
}

Value Attr(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("attr", arguments, {"name"}, 1);
  return GetOnlyAttribute(runtime, self, bound.Text(0, ""));
}

}  // namespace

absl::Span<const NamedBuiltin> ListFilters() {
  static constexpr NamedBuiltin kFilters[] = {
      {"length", Length},
      {"count", Length},
      {"list", List},
      {"join", Join},
      {"first", First},
      {"last", Last},
      {"reverse", Reverse},
      {"map", Map},
      {"select", Choose<true, false>},
      {"reject", Choose<false, false>},
      {"selectattr", Choose<true, true>},
      {"rejectattr", Choose<false, true>},
      {"items", ItemPairs},
      {"batch", Batch},
      {"slice", Slice},
      {"default", Default},
      {"d", Default},
      {"attr", Attr},
  };
  return kFilters;
}

}  // namespace retort::text::jinja
