// The decoder of tokenizer.json: pieces back to text. Decoding is a stream: whole texts are decoded
// by pushing every piece, so both ways agree by construction.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/tokenizer_json.h"

namespace retort::text {

// Immutable. Knows ByteLevel, and a Sequence in this order of: Replace (String), ByteFallback,
// Fuse, Strip (at the start of the text).
class Decoder {
 public:
  static absl::StatusOr<Decoder> Make(const JsonObject& tokenizer);

 private:
  friend class DecodeStream;
  friend class DecoderReader;
  bool byte_level_ = false;
  bool byte_fallback_ = false;
  std::vector<std::pair<std::string, std::string>> replacements_;  // In order.
  std::string strip_;       // The character to remove at the start.
  int64_t strip_most_ = 0;  // How many of it.
};

// The state of decoding one text. `decoder` outlives it.
class DecodeStream {
 public:
  explicit DecodeStream(const Decoder& decoder);

  // Appends the text that is settled once `piece` is known; always whole characters.
  void Push(absl::string_view piece, std::string* out);
  // Appends what was held back; the stream then starts anew.
  void Finish(std::string* out);

 private:
  void Emit(absl::string_view text, std::string* out);
  void FlushByteRun(std::string* out);

  const Decoder& decoder_;
  std::string
      held_;  // Byte level: an unfinished character. Byte fallback: the run of bytes so far.
  int64_t strip_left_;
};

}  // namespace retort::text
