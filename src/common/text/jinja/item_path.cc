#include "common/text/jinja/item_path.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/text/jinja/attribute.h"
#include "common/text/jinja/python_text.h"

namespace retort::text::jinja {

ItemPath::ItemPath(Runtime& runtime, const Value& attribute) {
  if (attribute.Is(Kind::kNone)) return;
  if (attribute.IsIntegral()) {
    keys_.push_back(attribute);
    return;
  }
  if (!attribute.IsString()) {
    RequireDefined(attribute);
    Fail(absl::StrCat("argument \"attribute\" is of type ", TypeName(attribute),
                      "; expected a string or an integer"));
  }
  for (const absl::string_view part : absl::StrSplit(absl::string_view(attribute.text()), '.')) {
    runtime.ChargeBytes(part.size());
    int64_t index = 0;
    if (IsDecimal(part) && absl::SimpleAtoi(part, &index)) {
      keys_.push_back(Value::Int(index));
    } else {
      keys_.push_back(runtime.String(std::string(part)));
    }
  }
}

Value ItemPath::Of(Runtime& runtime, const Value& item, const Value* fallback) const {
  Value value = item;
  for (const Value& key : keys_) {
    value = GetItem(runtime, value, key);
    if (value.IsUndefined() && fallback != nullptr) value = *fallback;
  }
  return value;
}

}  // namespace retort::text::jinja
