// Oniguruma's regular expressions, which tokenizer.json is written in (its Ruby syntax), in the
// words of PCRE2.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort::text {

// A pattern for Pattern::Compile that finds what Hugging Face's tokenizers find with `source`:
// `^` and `$` at every line, `\h` a hex digit, classes with `&&` and classes inside, scripts
// without their extensions, `x{1,3}+` a repeat of a repeat. Errors: UNIMPLEMENTED naming what of
// the syntax has no certain counterpart; INVALID_ARGUMENT for a pattern that Oniguruma refuses.
// Each names the byte.
absl::StatusOr<std::string> PcreFromOniguruma(absl::string_view source);

}  // namespace retort::text
