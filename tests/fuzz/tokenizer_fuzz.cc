// tokenizer.json, tokenizer_config.json and a text: a refusal that names the file, or a tokenizer
// whose ids are in its vocabulary and decode to UTF-8, with spans inside of the text.
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/json.h"
#include "common/base/utf8.h"
#include "common/text/tokenizer.h"
#include "common/text/tokenizer_fixture.h"
#include "fuzz/fuzz_target.h"
#include "nlohmann/json.hpp"

namespace retort::fuzz {
namespace {

using nlohmann::json;
using text::Tokenizer;

constexpr char kText[] = "abab ab<eos> \t日本 <s>'ll\n";

// The fixture without most of its byte tokens: mutations should hit the parts instead.
std::string Small(json file, const std::string& kept_bytes) {
  json vocabulary = json::object();
  for (const auto& [token, id] : file["model"]["vocab"].items()) {
    const bool byte = token.size() <= 2 || token.rfind("<0x", 0) == 0;
    if (!byte || kept_bytes.find(token) != std::string::npos) vocabulary[token] = id;
  }
  file["model"]["vocab"] = vocabulary;
  return DumpJson(file, 1);
}

void CheckSpans(const text::Encoding& encoding, absl::string_view input) {
  RETORT_CHECK(encoding.source_spans.size() == encoding.ids.size());
  RETORT_CHECK(encoding.normalized_spans.size() == encoding.ids.size());
  int32_t begin = 0;
  for (const text::ByteSpan& span : encoding.source_spans) {
    RETORT_CHECK(span.begin >= begin && span.end >= span.begin &&
                 span.end <= static_cast<int32_t>(input.size()))
        << span.begin << ".." << span.end << " behind " << begin;
    begin = span.begin;
  }
}

// Bytes that are not UTF-8 are refused; what can be read of them is encoded.
void CheckCodec(const Tokenizer& tokenizer, absl::string_view bytes) {
  if (FirstInvalidByte(bytes)) {
    RETORT_CHECK(!tokenizer.Encode(bytes, /*add_special_tokens=*/true).ok());
  }
  std::string input;
  AppendLossyUtf8(bytes, /*final=*/true, &input);
  const auto encoding = tokenizer.EncodeWithSpans(input, /*add_special_tokens=*/true);
  const auto ids = tokenizer.Encode(input, /*add_special_tokens=*/true);
  RETORT_CHECK(ids.ok() == encoding.ok()) << ids.status() << " " << encoding.status();
  if (!ids.ok()) {
    CheckRefusal(ids.status(),
                 {absl::StatusCode::kInvalidArgument, absl::StatusCode::kResourceExhausted}, {""});
    return;
  }
  RETORT_CHECK(*ids == encoding->ids);
  CheckSpans(*encoding, input);
  for (const int64_t id : *ids) RETORT_CHECK(tokenizer.HasToken(id)) << id;
  const auto decoded = tokenizer.Decode(*ids, /*skip_special_tokens=*/false);
  RETORT_CHECK(decoded.ok()) << decoded.status();
  RETORT_CHECK(!FirstInvalidByte(*decoded));
}

}  // namespace

std::vector<std::string> Seeds() {
  json split = text::ByteLevelFile();
  split["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", "\\s+|[ab]+"}}}, {"behavior", "Isolated"}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  split["normalizer"] = {{"type", "NFC"}};
  json piece = text::SentencePieceFile();
  piece["model"]["vocab"]["<0x62>"] = 101;
  return {
      absl::StrCat(Small(text::ByteLevelFile(), "abĠ"), kSeparator, "{\"eos_token\": \"<eos>\"}",
                   kSeparator, "abab<eos> ab"),
      absl::StrCat(Small(split, "abĠ"), kSeparator, kSeparator, "ab  ab é"),
      absl::StrCat(Small(piece, "ab▁<0x61>"), kSeparator,
                   "{\"bos_token\": {\"content\": \"<s>\"}, \"pad_token\": null}", kSeparator,
                   "ab</s> a日b"),
  };
}

}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  const std::vector<absl::string_view> documents = fuzz::Documents(data, size);
  const absl::string_view config = documents.size() > 1 ? documents[1] : "";
  const auto tokenizer = text::Tokenizer::Parse(documents[0], config, "m");
  if (!tokenizer.ok()) {
    fuzz::CheckRefusal(tokenizer.status(),
                       {absl::StatusCode::kInvalidArgument, absl::StatusCode::kUnimplemented,
                        absl::StatusCode::kOutOfRange, absl::StatusCode::kResourceExhausted},
                       {"m/tokenizer.json", "m/tokenizer_config.json"});
    return 0;
  }
  fuzz::NoteAccepted();
  fuzz::CheckCodec(**tokenizer, fuzz::kText);
  if (documents.size() > 2) fuzz::CheckCodec(**tokenizer, documents[2]);
  // The file itself, as far as a normalizer that multiplies it keeps within the time.
  fuzz::CheckCodec(**tokenizer, documents[0].substr(0, 300));
  return 0;
}
