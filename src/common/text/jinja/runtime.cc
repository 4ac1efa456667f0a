#include "common/text/jinja/runtime.h"

#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"

namespace retort::text::jinja {

void Runtime::Spent() const {
  Exhaust(absl::StrCat("the template takes more than ", limits_.max_steps,
                       " steps; does it loop without an end?"));
}

void Runtime::TooDeep() const {
  Exhaust(absl::StrCat("nested more than ", limits_.max_depth,
                       " levels deep; does a macro call itself without an end?"));
}

Value Runtime::String(std::string text, bool markup) {
  ChargeBytes(text.size());
  return Value::Of(Kind::kString, New<StringObject>(std::move(text), markup));
}

Value Runtime::Undefined(std::string reason) {
  return Value::Of(Kind::kUndefined, New<UndefinedObject>(std::move(reason)));
}

Value Runtime::Sequence(Kind kind, std::vector<Value> items) {
  Charge(static_cast<int64_t>(items.size()));
  auto* const object = New<SequenceObject>();
  object->items = std::move(items);
  return Value::Of(kind, object);
}

Value Runtime::Dict(std::vector<std::pair<Value, Value>> entries) {
  Charge(static_cast<int64_t>(2 * entries.size()));
  auto* const object = New<DictObject>();
  object->entries = std::move(entries);
  return Value::Of(Kind::kDict, object);
}

std::vector<Value> Characters(Runtime& runtime, const Value& text) {
  std::vector<Value> items;
  absl::string_view rest = text.text();
  while (!rest.empty()) {
    const size_t bytes = CharacterBytes(rest[0]);
    items.push_back(runtime.String(std::string(rest.substr(0, bytes))));
    rest.remove_prefix(bytes);
  }
  return items;
}

void RequireDefined(const Value& value) {
  if (!value.IsUndefined()) return;
  const auto* const undefined = value.As<UndefinedObject>();
  Fail(undefined == nullptr ? "the value is undefined" : undefined->reason);
}

bool IsIterable(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kDict:
      return true;
    default:
      return value.IsSequence();
  }
}

std::vector<Value> Iterate(Runtime& runtime, const Value& value) {
  std::vector<Value> items;
  if (value.IsUndefined()) return items;
  if (value.IsString()) return Characters(runtime, value);
  if (value.Is(Kind::kDict)) {
    for (const auto& entry : value.As<DictObject>()->entries) items.push_back(entry.first);
  } else if (value.Is(Kind::kIterator)) {
    auto* const sequence = value.As<SequenceObject>();
    items.assign(sequence->items.begin() + static_cast<std::ptrdiff_t>(sequence->next),
                 sequence->items.end());
    sequence->next = sequence->items.size();
  } else if (value.IsSequence()) {
    items = value.As<SequenceObject>()->items;
  } else {
    Fail(absl::StrCat("a value of type ", TypeName(value), " cannot be iterated over"));
  }
  runtime.Charge(static_cast<int64_t>(items.size()));
  return items;
}

}  // namespace retort::text::jinja
