#include "common/text/jinja/json_value.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/text/jinja/number.h"
#include "nlohmann/json.hpp"

namespace retort::text::jinja {
namespace {

constexpr size_t kMaxDepth = 64;

// Events of the parser, so that numbers arrive as they were written. A callback that returns false
// ends the parsing.
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(Runtime& runtime) : runtime_(runtime) {}

  const std::string& error() const { return error_; }
  const Value& result() const { return result_; }

  bool null() override { return Put(Value::None()); }
  bool boolean(bool value) override { return Put(Value::Bool(value)); }
  bool number_integer(number_integer_t value) override { return Put(Value::Int(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value <= static_cast<number_unsigned_t>(INT64_MAX)) {
      return Put(Value::Int(static_cast<int64_t>(value)));
    }
    return Put(BigInteger(absl::StrCat(value)));
  }
  bool number_float(number_float_t value, const string_t& written) override {
    const bool integer = written.find_first_of(".eE") == std::string::npos;
    return Put(integer ? BigInteger(CanonicalInteger(written)) : Value::Float(value));
  }
  bool string(string_t& value) override { return Put(runtime_.String(value)); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return Open(runtime_.Dict({})); }
  bool key(string_t& key) override {
    Level& level = levels_.back();
    if (!level.keys.insert(key).second) {
      error_ = absl::StrCat("key \"", Printable(key), "\" appears twice in one object");
      return false;
    }
    level.key = runtime_.String(key);
    return true;
  }
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override { return Open(runtime_.List({})); }
  bool end_array() override { return Close(); }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_ = absl::StrCat("not valid JSON at byte ", position);
    return false;
  }

 private:
  struct Level {
    Value container;
    Value key;
    std::set<std::string> keys;
  };

  Value BigInteger(std::string digits) {
    runtime_.ChargeBytes(digits.size());
    return Value::Of(Kind::kBigInt, runtime_.New<StringObject>(std::move(digits)));
  }

  bool Put(const Value& value) {
    runtime_.Charge();
    if (levels_.empty()) {
      result_ = value;
    } else if (levels_.back().container.Is(Kind::kList)) {
      levels_.back().container.As<SequenceObject>()->items.push_back(value);
    } else {
      levels_.back().container.As<DictObject>()->entries.emplace_back(levels_.back().key, value);
    }
    return true;
  }

  bool Open(const Value& container) {
    if (levels_.size() == kMaxDepth) {
      error_ = absl::StrCat("nested deeper than ", kMaxDepth, " levels");
      return false;
    }
    Put(container);
    levels_.push_back({container, Value(), {}});
    return true;
  }

  bool Close() {
    levels_.pop_back();
    return true;
  }

  Runtime& runtime_;
  std::vector<Level> levels_;
  Value result_;
  std::string error_;
};

}  // namespace

Value FromJson(Runtime& runtime, absl::string_view json, absl::string_view name) {
  if (json.size() > runtime.limits().max_input_bytes) {
    Exhaust(absl::StrCat(name, " has ", json.size(), " bytes; at most ",
                         runtime.limits().max_input_bytes));
  }
  Builder builder(runtime);
  if (!Json::sax_parse(json.data(), json.data() + json.size(), &builder)) {
    Fail(absl::StrCat(name, ": ", builder.error()));
  }
  return builder.result();
}

}  // namespace retort::text::jinja
