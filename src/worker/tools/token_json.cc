#include "worker/tools/token_json.h"

#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/base/utf8.h"
#include "nlohmann/json.hpp"

namespace retort::worker {
namespace {

Json FloatJson(float value) {
  if (!std::isfinite(value)) return Json();
  // Of nine digits, those that matter: Json prints the shortest decimal of the double they make.
  for (const int digits : {6, 7, 8}) {
    const double number = std::strtod(absl::StrFormat("%.*g", digits, value).c_str(), nullptr);
    if (static_cast<float>(number) == value) return number;
  }
  return std::strtod(absl::StrFormat("%.9g", value).c_str(), nullptr);
}

Json TokenText(const text::Tokenizer& tokenizer, int64_t id) {
  const absl::StatusOr<absl::string_view> bytes = tokenizer.TokenBytes(id);
  return bytes.ok() ? Json(LossyUtf8(*bytes)) : Json();
}

}  // namespace

Json FloatsJson(absl::Span<const float> values) {
  Json list = Json::array();
  for (const float value : values) list.push_back(FloatJson(value));
  return list;
}

Json TokensJson(const text::Tokenizer& tokenizer, absl::Span<const int64_t> ids) {
  Json list = Json::array();
  for (const int64_t id : ids) list.push_back(TokenText(tokenizer, id));
  return list;
}

Json TopJson(const text::Tokenizer& tokenizer, absl::Span<const int64_t> ids,
             absl::Span<const float> log_probs, int64_t k) {
  Json list = Json::array();
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(k)) {
    Json top = Json::array();
    for (size_t i = begin; i < begin + static_cast<size_t>(k); ++i) {
      top.push_back({{"id", ids[i]},
                     {"token", TokenText(tokenizer, ids[i])},
                     {"log_prob", FloatJson(log_probs[i])}});
    }
    list.push_back(std::move(top));
  }
  return list;
}

}  // namespace retort::worker
