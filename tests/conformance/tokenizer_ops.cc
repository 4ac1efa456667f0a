// text.encode, text.decode: README-text-model.md §2.
#include <map>
#include <memory>
#include <string>

#include "common/base/status_macros.h"
#include "common/text/tokenizer.h"
#include "conformance/op_registry.h"

namespace retort::conformance {
namespace {

// Loaded once for the lines of a case; the program is single-threaded.
absl::StatusOr<const text::Tokenizer*> LoadOnce(const std::string& folder) {
  static auto* const loaded = new std::map<std::string, std::unique_ptr<text::Tokenizer>>();
  std::unique_ptr<text::Tokenizer>& tokenizer = (*loaded)[folder];
  if (tokenizer == nullptr) {
    RETORT_ASSIGN_OR_RETURN(tokenizer, text::Tokenizer::Load(folder));
  }
  return tokenizer.get();
}

absl::StatusOr<Json> Encode(LineCall& call) {
  const std::string folder = call.DataPath("tokenizer");
  const std::string text = call.LineText("text");
  const bool add_special_tokens = call.LineBool("add_special_tokens");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const text::Tokenizer* tokenizer, LoadOnce(folder));
  RETORT_ASSIGN_OR_RETURN(const text::Encoding encoding,
                          tokenizer->EncodeWithSpans(text, add_special_tokens));
  RETORT_ASSIGN_OR_RETURN(const std::vector<int64_t> ids,
                          tokenizer->Encode(text, add_special_tokens));
  if (ids != encoding.ids) return absl::InternalError("ids differ with and without spans");
  Json offsets = Json::array();
  for (const text::ByteSpan& span : encoding.normalized_spans) {
    offsets.push_back({span.begin, span.end});
  }
  return Json{{"ids", encoding.ids}, {"offsets", offsets}};
}

absl::StatusOr<Json> Decode(LineCall& call) {
  const std::string folder = call.DataPath("tokenizer");
  const std::vector<int64_t> ids = call.LineIds("ids");
  const bool skip_special_tokens = call.LineBool("skip_special_tokens");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const text::Tokenizer* tokenizer, LoadOnce(folder));
  RETORT_ASSIGN_OR_RETURN(const std::string text, tokenizer->Decode(ids, skip_special_tokens));
  return Json{{"text", text}};
}

}  // namespace

void RegisterTokenizerOps(OpRegistry* registry) {
  (*registry)["text.encode"] = {{}, Encode, {"text", "add_special_tokens"}};
  (*registry)["text.decode"] = {{}, Decode, {"ids", "skip_special_tokens"}};
}

}  // namespace retort::conformance
