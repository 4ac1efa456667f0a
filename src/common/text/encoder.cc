#include "common/text/encoder.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace retort::text {
namespace {

// Calls `plain(begin, end)` and `hit(StringSet::Hit)` for the parts of `text`, in order. As Hugging
// Face does it: white space that a token takes is searched for tokens all the same, and what stands
// behind one of those stands there once more.
template <typename Plain, typename OnHit>
absl::Status CutOut(const AddedTokens& added, const StringSet& set, absl::string_view text,
                    const Plain& plain, const OnHit& on_hit) {
  size_t done = 0, searched = 0;
  while (const std::optional<StringSet::Hit> found = set.FindFrom(text, searched)) {
    searched = found->end;
    if (!added.Allowed(*found, text)) continue;
    const StringSet::Hit hit = added.Widened(*found, text, done);
    if (hit.begin > done) RETORT_RETURN_IF_ERROR(plain(done, hit.begin));
    on_hit(hit);
    done = hit.end;
  }
  return done < text.size() ? plain(done, text.size()) : absl::OkStatus();
}

}  // namespace

absl::Status Encoder::Run(bool add_special_tokens) {
  if (add_special_tokens) {
    for (const int64_t id : parts_.post_processor.before) AddTemplateToken(id);
  }
  RETORT_RETURN_IF_ERROR(CutOut(
      parts_.added, parts_.added.raw(), text_,
      [this](size_t begin, size_t end) { return AddRawPiece(begin, end); },
      [this](const StringSet::Hit& hit) {
        raw_begin_ = hit.end;
        AddAddedToken(hit.id, {static_cast<int32_t>(hit.begin), static_cast<int32_t>(hit.end)});
      }));
  raw_begin_ = text_.size();
  if (add_special_tokens) {
    for (const int64_t id : parts_.post_processor.after) AddTemplateToken(id);
  }
  return absl::OkStatus();
}

absl::Status Encoder::AddRawPiece(size_t begin, size_t end) {
  raw_begin_ = begin;
  raw_end_ = end;
  absl::StatusOr<absl::string_view> normalized =
      parts_.normalizer.Normalize(text_.substr(begin, end - begin), &scratch_.normalizer,
                                  with_spans_ ? &scratch_.edits : nullptr);
  RETORT_RETURN_IF_ERROR(WithContext(normalized.status(), absl::StrCat("text at byte ", begin)));
  walker_ = EditWalker(scratch_.edits);
  const auto source = [&](size_t from, size_t to) {
    if (!with_spans_) return ByteSpan{};
    const ByteSpan span = walker_.Source(static_cast<int32_t>(from), static_cast<int32_t>(to));
    const int32_t shift = static_cast<int32_t>(raw_begin_);
    return ByteSpan{span.begin + shift, span.end + shift};
  };
  return CutOut(
      parts_.added, parts_.added.normalized(), *normalized,
      [&](size_t from, size_t to) { return AddNormalizedPiece(*normalized, from, to); },
      [&](const StringSet::Hit& hit) { AddAddedToken(hit.id, source(hit.begin, hit.end)); });
}

absl::Status Encoder::AddNormalizedPiece(absl::string_view normalized, size_t begin, size_t end) {
  absl::string_view piece = normalized.substr(begin, end - begin);
  const bool prefixed = parts_.pre_tokenizer.add_prefix_space() && piece[0] != ' ';
  if (prefixed) {
    scratch_.prefixed.assign(1, ' ').append(piece.data(), piece.size());
    piece = scratch_.prefixed;
  }
  size_t stopped_at = 0;
  const absl::Status cut = parts_.pre_tokenizer.Cut(piece, &scratch_.words, &scratch_.spare_words,
                                                    &budget_, &stopped_at);
  if (!cut.ok()) return At(cut, begin + stopped_at - (prefixed && stopped_at > 0 ? 1 : 0));
  scratch_.tokens.clear();
  for (const Word& word : scratch_.words) {
    const absl::Status encoded = parts_.model.Encode(
        piece.substr(word.begin, word.end - word.begin), &scratch_.cache, &scratch_.tokens);
    if (!encoded.ok()) {
      return At(encoded, begin + word.begin - (prefixed && word.begin > 0 ? 1 : 0));
    }
  }
  AddTokens(begin, prefixed);
  return absl::OkStatus();
}

// `status` with the place in the text that it is about: byte `piece_offset` of the normalized piece
// at work, led back to its source.
absl::Status Encoder::At(const absl::Status& status, size_t piece_offset) const {
  NormalizerBuffers buffers;
  EditMap edits;  // Not kept where no spans are wanted.
  const absl::Status again =
      parts_.normalizer.Normalize(text_.substr(raw_begin_, raw_end_ - raw_begin_), &buffers, &edits)
          .status();
  if (!again.ok()) return again;
  const int32_t at = static_cast<int32_t>(piece_offset);
  return WithContext(status,
                     absl::StrCat("text at byte ", raw_begin_ + edits.Source(at, at).begin));
}

void Encoder::AddAddedToken(int32_t id, ByteSpan source) {
  out_.ids.push_back(id);
  if (!with_spans_) return;
  out_.source_spans.push_back(source);
  if (!parts_.pre_tokenizer.byte_level()) {
    out_.normalized_spans.push_back(source);
    return;
  }
  const int32_t end = normalized_total_ + static_cast<int32_t>(parts_.entries[id].piece.size());
  out_.normalized_spans.push_back({normalized_total_, end});
  normalized_total_ = end;
}

void Encoder::AddTemplateToken(int64_t id) {
  out_.ids.push_back(id);
  if (!with_spans_) return;
  const int32_t at = static_cast<int32_t>(raw_begin_);
  out_.source_spans.push_back({at, at});
  out_.normalized_spans.push_back({0, 0});
}

void Encoder::AddTokens(size_t normalized_begin, bool prefixed) {
  const std::vector<Token>& tokens = scratch_.tokens;
  const size_t before = out_.ids.size();
  out_.ids.resize(before + tokens.size());
  int64_t* id = out_.ids.data() + before;
  for (const Token& token : tokens) *id++ = token.id;
  if (with_spans_) AddSpans(static_cast<int32_t>(normalized_begin), prefixed);
}

// `at`: where the tokens of the scratch begin in the normalized piece. A space that was put in
// front covers nothing.
void Encoder::AddSpans(int32_t at, bool prefixed) {
  const std::vector<Token>& tokens = scratch_.tokens;
  const size_t before = out_.source_spans.size();
  out_.source_spans.resize(before + tokens.size());
  out_.normalized_spans.resize(before + tokens.size());
  ByteSpan* source = out_.source_spans.data() + before;
  ByteSpan* normalized = out_.normalized_spans.data() + before;
  const bool byte_level = parts_.pre_tokenizer.byte_level();
  const bool same = scratch_.edits.empty();
  const int32_t shift = static_cast<int32_t>(raw_begin_);
  const int32_t normalized_shift = normalized_total_ - at;
  int32_t covered = prefixed ? 1 : 0;
  for (const Token& token : tokens) {
    const int32_t hidden = std::min<int32_t>(covered, static_cast<int32_t>(token.bytes));
    covered -= hidden;
    const int32_t end = at + static_cast<int32_t>(token.bytes) - hidden;
    const ByteSpan span = same ? ByteSpan{at, end} : walker_.Source(at, end);
    *source = {span.begin + shift, span.end + shift};
    *normalized++ = byte_level ? ByteSpan{at + normalized_shift, end + normalized_shift} : *source;
    ++source;
    at = end;
  }
  normalized_total_ = at + normalized_shift;
}

}  // namespace retort::text
