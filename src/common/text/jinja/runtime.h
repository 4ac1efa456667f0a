// What one rendering owns and may still spend. Not thread-safe; one per rendering.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/civil_time.h"
#include "common/text/jinja/failure.h"
#include "common/text/jinja/limits.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

class Runtime {
 public:
  explicit Runtime(const Limits& limits) : limits_(limits) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const Limits& limits() const { return limits_; }

  // What strftime_now tells; without it the function fails.
  std::optional<absl::CivilSecond> now;

  // Throws when the template has taken more than Limits::max_steps.
  void Charge(int64_t steps = 1) {
    steps_ += steps;
    if (steps_ > limits_.max_steps) Spent();
  }
  void ChargeBytes(size_t bytes) { Charge(1 + static_cast<int64_t>(bytes / 32)); }

  // One level of recursion, as long as it lives.
  class Depth {
   public:
    explicit Depth(Runtime& runtime) : runtime_(runtime) {
      if (++runtime_.depth_ > runtime_.limits_.max_depth) {
        --runtime_.depth_;
        runtime_.TooDeep();
      }
    }
    ~Depth() { --runtime_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Runtime& runtime_;
  };

  template <typename T, typename... Args>
  T* New(Args&&... args) {
    Charge();
    auto owned = std::make_unique<T>(std::forward<Args>(args)...);
    T* const object = owned.get();
    heap_.push_back(std::move(owned));
    return object;
  }

  Value String(std::string text, bool markup = false);
  Value Undefined(std::string reason);
  Value Sequence(Kind kind, std::vector<Value> items);
  Value List(std::vector<Value> items) { return Sequence(Kind::kList, std::move(items)); }
  Value Tuple(std::vector<Value> items) { return Sequence(Kind::kTuple, std::move(items)); }
  Value Iterator(std::vector<Value> items) { return Sequence(Kind::kIterator, std::move(items)); }
  Value Dict(std::vector<std::pair<Value, Value>> entries);

 private:
  [[noreturn]] void Spent() const;
  [[noreturn]] void TooDeep() const;

  const Limits limits_;
  int64_t steps_ = 0;
  int depth_ = 0;
  std::vector<std::unique_ptr<Object>> heap_;
};

// The items that a `for` over `value` sees: characters of a string, keys of a dict. Reads an
// iterator to its end. Throws for what Python cannot iterate.
std::vector<Value> Iterate(Runtime& runtime, const Value& value);
bool IsIterable(const Value& value);

// The characters of a string, each a string.
std::vector<Value> Characters(Runtime& runtime, const Value& text);

// Throws what using an undefined value says; nothing if it is defined.
void RequireDefined(const Value& value);

}  // namespace retort::text::jinja
