#include "common/text/jinja/compare.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/text/jinja/number.h"
#include "common/text/jinja/python_text.h"

namespace retort::text::jinja {
namespace {

std::string IntegerDigits(const Value& value) {
  return value.Is(Kind::kBigInt) ? value.text() : absl::StrCat(value.int_value());
}

double AsDouble(const Value& value) {
  if (value.Is(Kind::kFloat)) return value.float_value();
  if (value.Is(Kind::kBigInt)) return ParseDouble(value.text());
  return static_cast<double>(value.int_value());
}

// -1, 0, 1; 2 when one is NaN.
int OrderNumbers(const Value& a, const Value& b) {
  if (a.IsIntegral() && b.IsIntegral()) {
    return a.int_value() < b.int_value() ? -1 : a.int_value() > b.int_value() ? 1 : 0;
  }
  if (!a.Is(Kind::kFloat) && !b.Is(Kind::kFloat)) {
    return CompareIntegers(IntegerDigits(a), IntegerDigits(b));
  }
  // An integer beyond 2^53 against a float: in long double every 64-bit integer is exact.
  const auto wide = [](const Value& v) {
    return v.IsIntegral() ? static_cast<long double>(v.int_value())
                          : static_cast<long double>(AsDouble(v));
  };
  const long double x = wide(a), y = wide(b);
  if (std::isnan(x) || std::isnan(y)) return 2;
  return x < y ? -1 : x > y ? 1 : 0;
}

void ChargeDigits(Runtime& runtime, const Value& a, const Value& b) {
  for (const Value& value : {a, b}) {
    if (value.Is(Kind::kBigInt)) runtime.ChargeBytes(value.text().size());
  }
}

bool EqualItems(Runtime& runtime, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!Equal(runtime, a[i], b[i])) return false;
  }
  return true;
}

bool EqualDicts(Runtime& runtime, const DictObject& a, const DictObject& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* const other = FindKey(runtime, b, key);
    if (other == nullptr || !Equal(runtime, value, *other)) return false;
  }
  return true;
}

[[noreturn]] void FailOrder(absl::string_view op, const Value& a, const Value& b) {
  RequireDefined(a);
  RequireDefined(b);
  Fail(absl::StrCat("\"", op, "\" does not work between ", TypeName(a), " and ", TypeName(b)));
}

// a < b, or a <= b with `or_equal`.
bool Ordered(Runtime& runtime, absl::string_view op, const Value& a, const Value& b,
             bool or_equal) {
  const Runtime::Depth depth(runtime);
  runtime.Charge();
  if (a.IsNumber() && b.IsNumber()) {
    ChargeDigits(runtime, a, b);
    const int order = OrderNumbers(a, b);
    return order == -1 || (or_equal && order == 0);
  }
  if (a.IsString() && b.IsString()) {
    // UTF-8 sorts as its code points do.
    runtime.ChargeBytes(std::min(a.text().size(), b.text().size()));
    const int order = a.text().compare(b.text());
    return order < 0 || (or_equal && order == 0);
  }
  const bool sequences = a.kind() == b.kind() && (a.Is(Kind::kList) || a.Is(Kind::kTuple));
  if (!sequences) FailOrder(op, a, b);
  const auto& x = a.As<SequenceObject>()->items;
  const auto& y = b.As<SequenceObject>()->items;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (!Equal(runtime, x[i], y[i])) return Ordered(runtime, op, x[i], y[i], or_equal);
  }
  return x.size() < y.size() || (or_equal && x.size() == y.size());
}

}  // namespace

bool Equal(Runtime& runtime, const Value& a, const Value& b) {
  const Runtime::Depth depth(runtime);
  runtime.Charge();
  if (a.IsNumber() && b.IsNumber()) {
    ChargeDigits(runtime, a, b);
    return OrderNumbers(a, b) == 0;
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      if (a.text().size() != b.text().size()) return false;
      runtime.ChargeBytes(a.text().size());
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      return EqualItems(runtime, a.As<SequenceObject>()->items, b.As<SequenceObject>()->items);
    case Kind::kDict:
      return EqualDicts(runtime, *a.As<DictObject>(), *b.As<DictObject>());
    case Kind::kView:
      Refuse("comparing the views of a dict is not supported; write \"| list\" behind them");
    default:
      return a.object() == b.object();
  }
}

bool Less(Runtime& runtime, const Value& a, const Value& b) {
  return Ordered(runtime, "<", a, b, /*or_equal=*/false);
}

bool Compare(Runtime& runtime, absl::string_view op, const Value& a, const Value& b) {
  if (op == "==") return Equal(runtime, a, b);
  if (op == "!=") return !Equal(runtime, a, b);
  if (op == "<") return Ordered(runtime, op, a, b, false);
  if (op == "<=") return Ordered(runtime, op, a, b, true);
  if (op == ">") return Ordered(runtime, op, b, a, false);
  if (op == ">=") return Ordered(runtime, op, b, a, true);
  return Contains(runtime, b, a) == (op == "in");
}

bool Contains(Runtime& runtime, const Value& container, const Value& item) {
  if (container.IsString()) {
    if (!item.IsString()) {
      RequireDefined(item);
      Fail(absl::StrCat("\"in\" a string needs a string, not ", TypeName(item)));
    }
    runtime.ChargeBytes(container.text().size());
    return FindText(container.text(), item.text()) != std::string::npos;
  }
  if (container.Is(Kind::kDict)) {
    RequireHashable(runtime, item);
    return FindKey(runtime, *container.As<DictObject>(), item) != nullptr;
  }
  if (container.Is(Kind::kIterator)) {
    auto* const sequence = container.As<SequenceObject>();
    while (sequence->next < sequence->items.size()) {
      if (Equal(runtime, item, sequence->items[sequence->next++])) return true;
    }
    return false;
  }
  const std::vector<Value> items = Iterate(runtime, container);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& other) { return Equal(runtime, item, other); });
}

void RequireHashable(Runtime& runtime, const Value& key) {
  const Runtime::Depth depth(runtime);
  if (key.Is(Kind::kList) || key.Is(Kind::kDict)) {
    Fail(absl::StrCat("a value of type ", TypeName(key), " cannot be a key"));
  }
  if (!key.Is(Kind::kTuple)) return;
  for (const Value& item : key.As<SequenceObject>()->items) RequireHashable(runtime, item);
}

const Value* FindKey(Runtime& runtime, const DictObject& dict, const Value& key) {
  if (key.IsString()) return FindKey(runtime, dict, key.text());
  for (const auto& entry : dict.entries) {
    if (Equal(runtime, entry.first, key)) return &entry.second;
  }
  return nullptr;
}

const Value* FindKey(Runtime& runtime, const DictObject& dict, absl::string_view key) {
  runtime.Charge(1 + static_cast<int64_t>(dict.entries.size() / 16));
  for (const auto& entry : dict.entries) {
    if (!entry.first.IsString() || entry.first.text().size() != key.size()) continue;
    if (key.size() >= 32) runtime.ChargeBytes(key.size());
    if (entry.first.text() == key) return &entry.second;
  }
  return nullptr;
}

void SetKey(Runtime& runtime, DictObject* dict, const Value& key, const Value& value) {
  RequireHashable(runtime, key);
  const Value* const found = FindKey(runtime, *dict, key);
  if (found != nullptr) {
    *const_cast<Value*>(found) = value;
  } else {
    dict->entries.emplace_back(key, value);
  }
}

void SetNamespaceKey(Runtime& runtime, DictObject* dict, const Value& key, const Value& value) {
  if (key.IsString() && absl::StartsWith(key.text(), "_")) {
    Fail(absl::StrCat("a namespace cannot hold \"", Printable(key.text()),
                      "\": names that begin with _ are kept out"));
  }
  SetKey(runtime, dict, key, value);
}

}  // namespace retort::text::jinja
