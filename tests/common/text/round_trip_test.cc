// What must hold of any text, checked on random ones with real tokenizers.
#include <utf8proc.h>

#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "common/base/rng.h"
#include "common/base/utf8.h"
#include "common/text/golden_tokenizers.h"
#include "common/text/random_text.h"
#include "common/text/stream_decoder.h"
#include "common/text/tokenizer_parts.h"
#include "gtest/gtest.h"

namespace retort::text {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kTexts = 4'000;  // Ten times slower there.
#else
constexpr int kTexts = 100'000;
#endif

// By utf8proc at once, not in segments.
std::string Composed(const std::string& text) {
  utf8proc_uint8_t* out = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &out,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  EXPECT_GE(size, 0);
  std::string composed(reinterpret_cast<const char*>(out), static_cast<size_t>(size));
  std::free(out);
  return composed;
}

class RoundTripTest : public GoldenTokenizerTest {
 protected:
  bool HoldsAddedToken(const std::vector<int64_t>& ids) const {
    for (const int64_t id : ids) {
      if (tokenizer_->parts().entries[id].added) return true;
    }
    return false;
  }

  std::string Want(const std::string& text) const {
    if (GetParam().composes) return Composed(text);
    return GetParam().byte_level ? text : absl::StrReplaceAll(text, {{"\xe2\x96\x81", " "}});
  }

  void CheckSpans(const std::string& text, const Encoding& encoding) const {
    const std::string normal = GetParam().composes ? Composed(text) : text;
    int32_t normal_end = 0, source_begin = 0, source_end = 0;
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      const ByteSpan normalized = encoding.normalized_spans[i];
      const ByteSpan source = encoding.source_spans[i];
      ASSERT_EQ(normalized.begin, normal_end);
      normal_end = normalized.end;
      ASSERT_GE(source.begin, source_begin);
      ASSERT_GE(source.end, source.begin);
      source_begin = source.begin;
      source_end = std::max(source_end, source.end);
      if (!GetParam().byte_level) continue;
      ASSERT_EQ(normal.substr(normalized.begin, normalized.end - normalized.begin),
                *tokenizer_->TokenBytes(encoding.ids[i]));
      if (!GetParam().composes) {
        ASSERT_EQ(source, normalized);
      }
    }
    ASSERT_EQ(normal_end, static_cast<int32_t>(normal.size()));
    if (!text.empty()) {
      ASSERT_EQ(source_end, static_cast<int32_t>(text.size()));
    }
  }
};

TEST_P(RoundTripTest, RandomTexts_DecodeToWhatWasEncodedAndSpansCoverIt) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  int checked = 0;
  for (int round = 0; round < kTexts; ++round) {
    CounterRng rng(seed, RngPurpose::kData, static_cast<uint64_t>(round));
    const std::string text = RandomText(rng, 24);
    const auto encoding = tokenizer_->EncodeWithSpans(text, /*add_special_tokens=*/false);
    ASSERT_TRUE(encoding.ok()) << encoding.status();
    if (HoldsAddedToken(encoding->ids)) continue;
    ++checked;
    const auto decoded = tokenizer_->Decode(encoding->ids, /*skip_special_tokens=*/false);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    ASSERT_EQ(*decoded, Want(text)) << "seed " << seed << " round " << round;
    ASSERT_EQ(*tokenizer_->Encode(text, false), encoding->ids);
    CheckSpans(text, *encoding);
    if (HasFatalFailure()) {
      FAIL() << "seed " << seed << " round " << round << ": " << testing::PrintToString(text);
    }
  }
  EXPECT_GT(checked, kTexts / 4);
}

TEST_P(RoundTripTest, RandomIds_StreamEqualsWholeAndNeverSplitsACharacter) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::vector<int64_t> fallback;
  for (int64_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    if (tokenizer_->IsByteFallback(id)) fallback.push_back(id);
  }
  ASSERT_EQ(fallback.size(), GetParam().byte_level ? 0u : 256u);
  for (int round = 0; round < kTexts / 20; ++round) {
    CounterRng rng(seed, RngPurpose::kData, static_cast<uint64_t>(round));
    StreamDecoder decoder(*tokenizer_);
    std::vector<int64_t> ids;
    std::string streamed;
    for (int i = 0; i < 30; ++i) {
      const bool byte = !fallback.empty() && rng.NextBelow(2) == 0;
      const int64_t id = byte ? fallback[rng.NextBelow(fallback.size())]
                              : static_cast<int64_t>(rng.NextBelow(tokenizer_->vocab_size()));
      if (!tokenizer_->HasToken(id)) continue;
      ids.push_back(id);
      const auto part = decoder.Push(id);
      ASSERT_TRUE(part.ok()) << part.status();
      ASSERT_FALSE(FirstInvalidByte(*part)) << "seed " << seed << " round " << round;
      streamed += *part;
    }
    streamed += decoder.Finish();
    ASSERT_EQ(streamed, *tokenizer_->Decode(ids, true)) << "seed " << seed << " round " << round;
  }
}

// A megabyte of one character: neither patterns nor merging may be quadratic.
TEST_P(RoundTripTest, MegabyteOfOneCharacter_RoundTrips) {
  for (const char* unit : {" ", "a", "\n", "1", "\xe6\x97\xa5", "'", " a", "\xcc\x81"}) {
    std::string text;
    while (text.size() < (1 << 20)) text += unit;
    const auto encoding = tokenizer_->EncodeWithSpans(text, false);
    ASSERT_TRUE(encoding.ok()) << encoding.status();
    const auto decoded = tokenizer_->Decode(encoding->ids, false);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_TRUE(*decoded == text) << testing::PrintToString(unit);
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, RoundTripTest, GoldenTokenizers(),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace retort::text
