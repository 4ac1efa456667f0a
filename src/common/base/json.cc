#include "common/base/json.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

// Rejects duplicate keys and deep nesting before the tree is built.
class ShapeChecker : public nlohmann::json_sax<Json> {
 public:
  explicit ShapeChecker(int max_depth) : max_depth_(max_depth) {}
  const std::string& error() const { return error_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return Deeper();
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override { return Deeper(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& key) override {
    if (keys_.back().insert(key).second) return true;
    error_ = absl::StrCat("key \"", Printable(key), "\" appears twice in one object");
    return false;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_ = absl::StrCat("not valid JSON at byte ", position);
    return false;
  }

 private:
  bool Deeper() {
    if (++depth_ <= max_depth_) return true;
    error_ = absl::StrCat("nested deeper than ", max_depth_, " levels");
    return false;
  }

  const int max_depth_;
  int depth_ = 0;
  std::vector<std::set<std::string>> keys_;
  std::string error_;
};

template <typename JsonType>
absl::StatusOr<JsonType> Parse(absl::string_view text, absl::string_view source, int max_depth) {
  ShapeChecker checker(max_depth);
  const char* begin = text.data();
  const char* end = begin + text.size();
  if (!Json::sax_parse(begin, end, &checker)) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": ", checker.error()));
  }
  JsonType value = JsonType::parse(begin, end, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": not valid JSON"));
  }
  return value;
}

}  // namespace

absl::StatusOr<Json> ParseJson(absl::string_view text, absl::string_view source, int max_depth) {
  return Parse<Json>(text, source, max_depth);
}

absl::StatusOr<nlohmann::json> ParseSortedJson(absl::string_view text, absl::string_view source,
                                               int max_depth) {
  return Parse<nlohmann::json>(text, source, max_depth);
}

std::string DumpJson(const Json& value, int indent) {
  return value.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

std::string DumpJson(const nlohmann::json& value, int indent) {
  return value.dump(indent, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

}  // namespace retort
