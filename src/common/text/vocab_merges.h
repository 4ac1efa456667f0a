// The older form of a byte-level BPE tokenizer: vocab.json, merges.txt and, beside them,
// added_tokens.json and tokenizer_config.json.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/tokenizer_document.h"

namespace retort::text {

// Texts of the files, which outlive the document. The last two may be empty.
struct VocabMergesFiles {
  absl::string_view vocab_json, merges_txt, added_tokens_json, config_json;
};

// The tokenizer.json that Hugging Face makes of these files. What they do not say follows from
// `tokenizer_class`: GPT2Tokenizer (also when it is absent) or Qwen2Tokenizer, each also with
// "Fast"; `add_prefix_space`, and for GPT-2 `add_bos_token`, are followed. Added tokens: those of
// `added_tokens_decoder`, else those of added_tokens.json and the named ones (bos, eos, unk, pad,
// additional_special_tokens) that vocab.json holds. Errors: INVALID_ARGUMENT naming `source`/file
// and the line or byte; UNIMPLEMENTED for another tokenizer_class.
absl::StatusOr<TokenizerDocument> ReadVocabMerges(const VocabMergesFiles& files,
                                                  absl::string_view source);

}  // namespace retort::text
