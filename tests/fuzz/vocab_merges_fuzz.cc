// vocab.json, merges.txt, tokenizer_config.json and added_tokens.json: a refusal that names the
// file, or a tokenizer that encodes.
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/text/tokenizer_fixture.h"
#include "common/text/tokenizer_loader.h"
#include "fuzz/fuzz_target.h"

namespace retort::fuzz {

std::vector<std::string> Seeds() {
  const std::string vocabulary =
      R"({"a":0,"b":1,"ab":2,"Ġ":3,"Ġab":4,"<|endoftext|>":5,"<extra>":6})";
  const std::string merges = "#version: 0.2\na b\nĠ ab\n";
  return {
      absl::StrJoin({vocabulary, merges, std::string("{}"), std::string()}, kSeparator),
      absl::StrJoin({vocabulary, merges,
                     std::string(R"({"tokenizer_class":"GPT2Tokenizer","add_bos_token":true,
                                     "bos_token":{"content":"<|endoftext|>"},"eos_token":"ab"})"),
                     std::string(R"({"<extra>":6,"<more>":7})")},
                    kSeparator),
      absl::StrJoin({vocabulary, merges,
                     std::string(R"({"tokenizer_class":"Qwen2TokenizerFast","added_tokens_decoder":
                                     {"9":{"content":"<x>","special":true}}})"),
                     std::string()},
                    kSeparator),
  };
}

}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  const std::vector<absl::string_view> documents = fuzz::Documents(data, size);
  const auto document = [&](size_t i) {
    return i < documents.size() ? std::string(documents[i]) : std::string();
  };
  text::TokenizerFiles files;
  files.vocab_json = document(0);
  files.merges_txt = document(1);
  files.config_json = document(2);
  files.added_tokens_json = document(3);
  if (files.vocab_json.empty()) return 0;  // No such file: tokenizer.json is read instead.
  const auto parts = text::MakeTokenizerParts(files, "m");
  if (!parts.ok()) {
    fuzz::CheckRefusal(parts.status(),
                       {absl::StatusCode::kInvalidArgument, absl::StatusCode::kUnimplemented,
                        absl::StatusCode::kOutOfRange},
                       {"m/"});
    return 0;
  }
  fuzz::NoteAccepted();
  for (const text::TokenEntry& entry : (*parts)->entries) {
    RETORT_CHECK(entry.present || entry.piece.empty());
  }
  return 0;
}
