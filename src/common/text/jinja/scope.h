// Variables by name, one scope inside of another.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

// Names are views into the parsed template or the caller's variables, which outlive the rendering.
class Scope : public Object {
 public:
  explicit Scope(Scope* parent) : parent_(parent) {}

  // Here or further out; nullptr if there is none.
  const Value* Find(absl::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
      for (const auto& variable : scope->variables_) {
        if (variable.first == name) return &variable.second;
      }
    }
    return nullptr;
  }

  // Here, whatever there is further out.
  void Set(absl::string_view name, const Value& value) {
    for (auto& variable : variables_) {
      if (variable.first != name) continue;
      variable.second = value;
      return;
    }
    variables_.emplace_back(name, value);
  }

  void Clear() { variables_.clear(); }

  // Variables that a search here may look at.
  int64_t reach() const {
    int64_t count = 0;
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
      count += static_cast<int64_t>(scope->variables_.size());
    }
    return count;
  }

 private:
  Scope* const parent_;
  std::vector<std::pair<absl::string_view, Value>> variables_;
};

}  // namespace retort::text::jinja
