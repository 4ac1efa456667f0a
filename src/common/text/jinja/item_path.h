// The argument `attribute` of filters: "a.b.0" is item 0 of item b of item a.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/text/jinja/runtime.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

class ItemPath {
 public:
  // None: the item itself. An integer: the item at that index. Throws for another type.
  ItemPath(Runtime& runtime, const Value& attribute);

  // With a `fallback`, in place of what is undefined on the way.
  Value Of(Runtime& runtime, const Value& item, const Value* fallback = nullptr) const;

 private:
  std::vector<Value> keys_;
};

}  // namespace retort::text::jinja
