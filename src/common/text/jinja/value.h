// Values of the template language: Python's, as far as templates see them. Objects are owned by a
// Heap (or by the parsed template) until the rendering ends, so a Value is 16 bytes, copies freely,
// and a namespace that refers to itself leaks nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace retort::text::jinja {

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kBigInt,  // Beyond 64 bits: kept as its decimal digits.
  kFloat,
  kString,
  kList,
  kTuple,
  kRange,
  kView,      // dict.keys(), values() or items(): a sequence without indices.
  kIterator,  // What Python makes a generator: read once, from front to back.
  kDict,
  kNamespace,
  kMacro,
  kMethod,
  kFunction,
  kLoop,
  kCycler,
  kJoiner,
};

struct Object {
  virtual ~Object() = default;
};

struct StringObject;
struct UndefinedObject;
struct SequenceObject;
struct DictObject;

class Value {
 public:
  Value() : kind_(Kind::kUndefined), object_(nullptr) {}
  static Value None() { return Value(Kind::kNone, nullptr); }
  static Value Bool(bool b) {
    Value v(Kind::kBool, nullptr);
    v.int_ = b;
    return v;
  }
  static Value Int(int64_t i) {
    Value v(Kind::kInt, nullptr);
    v.int_ = i;
    return v;
  }
  static Value Float(double d) {
    Value v(Kind::kFloat, nullptr);
    v.float_ = d;
    return v;
  }
  // `object` is of the type that `kind` calls for and outlives the value.
  static Value Of(Kind kind, Object* object) { return Value(kind, object); }

  Kind kind() const { return kind_; }
  bool Is(Kind kind) const { return kind_ == kind; }
  bool IsUndefined() const { return kind_ == Kind::kUndefined; }
  bool IsString() const { return kind_ == Kind::kString; }
  // int, bool: what Python counts as an integer and fits 64 bits.
  bool IsIntegral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool IsNumber() const { return IsIntegral() || kind_ == Kind::kFloat || kind_ == Kind::kBigInt; }
  // Everything that holds a SequenceObject.
  bool IsSequence() const { return kind_ >= Kind::kList && kind_ <= Kind::kIterator; }

  bool bool_value() const { return int_ != 0; }
  int64_t int_value() const { return int_; }  // Of a bool too.
  double float_value() const { return float_; }
  const std::string& text() const;  // Of a string; the digits of a kBigInt.
  Object* object() const { return object_; }
  template <typename T>
  T* As() const {
    return static_cast<T*>(object_);
  }

 private:
  Value(Kind kind, Object* object) : kind_(kind), object_(object) {}

  Kind kind_;
  union {
    int64_t int_;
    double float_;
    Object* object_;
  };
};

// Immutable: constants of a parsed template are shared by threads that render it.
struct StringObject : Object {
  explicit StringObject(std::string t, bool escaped = false);
  const std::string text;  // UTF-8.
  const int64_t length;    // In code points, as Python counts.
  const bool markup;       // Came out of `escape` or `safe`.
};

struct UndefinedObject : Object {
  explicit UndefinedObject(std::string why) : reason(std::move(why)) {}
  const std::string reason;  // What using it says: "\"foo\" is undefined".
};

struct SequenceObject : Object {
  std::vector<Value> items;
  size_t next = 0;                        // kIterator: the first item not read yet.
  const char* view = nullptr;             // kView: the Python class, "dict_items".
  int64_t start = 0, stop = 0, step = 1;  // kRange.
  bool group = false;                     // A tuple of `groupby`: has .grouper and .list.
};

struct DictObject : Object {
  std::vector<std::pair<Value, Value>> entries;  // In order of insertion; keys are hashable.
};

inline const std::string& Value::text() const { return As<StringObject>()->text; }

// Python's name of the type: "str", "NoneType".
absl::string_view TypeName(const Value& value);

// Python's bool(value).
bool Truth(const Value& value);

}  // namespace retort::text::jinja
