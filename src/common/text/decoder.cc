#include "common/text/decoder.h"

#include <cstdint>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/byte_level.h"
#include "nlohmann/json.hpp"

namespace retort::text {

// Reads a decoder's parts and checks their order.
class DecoderReader {
 public:
  absl::Status Read(const JsonObject& spec) {
    RETORT_ASSIGN_OR_RETURN(const absl::string_view type, spec.Type());
    if (++parts_ > kMaxSequenceParts) return spec.Error("type", "stands in too long a Sequence");
    if (type == "Sequence") {
      RETORT_ASSIGN_OR_RETURN(const std::vector<JsonObject> parts, spec.Objects("decoders"));
      for (const JsonObject& part : parts) RETORT_RETURN_IF_ERROR(Read(part));
      return absl::OkStatus();
    }
    constexpr absl::string_view kOrder[] = {"Replace", "ByteFallback", "Fuse", "Strip"};
    for (size_t i = 0; i < std::size(kOrder); ++i) {
      if (type != kOrder[i] || stage_ > i || decoder_.byte_level_) continue;
      const bool fused = stage_ == 2;
      stage_ = i;
      if (type == "Replace") return ReadReplace(spec);
      if (type == "Strip") return ReadStrip(spec, fused);
      if (type == "ByteFallback") decoder_.byte_fallback_ = true;
      return absl::OkStatus();
    }
    if (type == "ByteLevel" && !decoder_.byte_level_ && parts_ == 1) {
      decoder_.byte_level_ = true;
      return absl::OkStatus();
    }
    return spec.Unknown(
        "type", type,
        "ByteLevel, or a Sequence of Replace, ByteFallback, Fuse and Strip in this order");
  }

  Decoder Take() { return std::move(decoder_); }

 private:
  absl::Status ReadReplace(const JsonObject& spec) {
    RETORT_ASSIGN_OR_RETURN(const JsonObject pattern, spec.Object("pattern"));
    if (pattern.Find("Regex") != nullptr) return spec.Unknown("pattern", "a Regex", "a String");
    RETORT_ASSIGN_OR_RETURN(std::string from, pattern.String("String"));
    if (from.empty()) return pattern.Error("String", "is empty");
    RETORT_ASSIGN_OR_RETURN(std::string to, spec.String("content"));
    decoder_.replacements_.emplace_back(std::move(from), std::move(to));
    return absl::OkStatus();
  }

  absl::Status ReadStrip(const JsonObject& spec, bool fused) {
    if (!fused) return spec.Unknown("type", "Strip without Fuse before it", "Strip behind Fuse");
    RETORT_ASSIGN_OR_RETURN(decoder_.strip_, spec.String("content"));
    RETORT_ASSIGN_OR_RETURN(decoder_.strip_most_, spec.Integer("start", 0, kMaxTokenBytes));
    RETORT_ASSIGN_OR_RETURN(const int64_t stop, spec.Integer("stop", 0, kMaxTokenBytes));
    if (stop != 0) return spec.Unknown("stop", absl::StrCat(stop), "0");
    const bool one =
        !decoder_.strip_.empty() && CharacterBytes(decoder_.strip_[0]) == decoder_.strip_.size();
    return one ? absl::OkStatus() : spec.Error("content", "is not one character");
  }

  Decoder decoder_;
  size_t stage_ = 0;
  size_t parts_ = 0;
};

absl::StatusOr<Decoder> Decoder::Make(const JsonObject& tokenizer) {
  if (tokenizer.Find("decoder") == nullptr)
    return tokenizer.Unknown("decoder", "null", "ByteLevel and Sequence");
  RETORT_ASSIGN_OR_RETURN(const JsonObject spec, tokenizer.Object("decoder"));
  DecoderReader reader;
  RETORT_RETURN_IF_ERROR(reader.Read(spec));
  return reader.Take();
}

namespace {

// The byte of a piece "<0xNN>".
std::optional<char> FallbackByte(absl::string_view piece) {
  if (piece.size() != 6 || !absl::StartsWith(piece, "<0x") || piece[5] != '>') return std::nullopt;
  int byte = 0;
  for (const char c : piece.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9', upper = c >= 'A' && c <= 'F',
               lower = c >= 'a' && c <= 'f';
    if (!digit && !upper && !lower) return std::nullopt;
    byte = byte * 16 + (digit ? c - '0' : upper ? c - 'A' + 10 : c - 'a' + 10);
  }
  return static_cast<char>(byte);
}

}  // namespace

DecodeStream::DecodeStream(const Decoder& decoder)
    : decoder_(decoder), strip_left_(decoder.strip_most_) {}

void DecodeStream::Push(absl::string_view piece, std::string* out) {
  if (decoder_.byte_level_) {
    AppendFromByteAlphabet(piece, &held_);
    held_.erase(0, AppendLossyUtf8(held_, /*final=*/false, out));
    return;
  }
  std::string text(piece);
  for (const auto& [from, to] : decoder_.replacements_)
    text = absl::StrReplaceAll(text, {{from, to}});
  if (decoder_.byte_fallback_) {
    if (const std::optional<char> byte = FallbackByte(text)) {
      held_.push_back(*byte);
      return;
    }
    FlushByteRun(out);
  }
  Emit(text, out);
}

void DecodeStream::Finish(std::string* out) {
  if (decoder_.byte_level_) {
    AppendLossyUtf8(held_, /*final=*/true, out);
    held_.clear();
  } else {
    FlushByteRun(out);
  }
  strip_left_ = decoder_.strip_most_;
}

// A run of byte tokens is text if all of it is UTF-8; otherwise every byte is U+FFFD.
void DecodeStream::FlushByteRun(std::string* out) {
  if (held_.empty()) return;
  if (!FirstInvalidByte(held_)) {
    Emit(held_, out);
  } else {
    for (size_t i = 0; i < held_.size(); ++i) Emit("\xef\xbf\xbd", out);
  }
  held_.clear();
}

void DecodeStream::Emit(absl::string_view text, std::string* out) {
  while (strip_left_ > 0 && !text.empty()) {
    if (!absl::ConsumePrefix(&text, decoder_.strip_)) {
      strip_left_ = 0;
      break;
    }
    --strip_left_;
  }
  out->append(text.data(), text.size());
}

}  // namespace retort::text
