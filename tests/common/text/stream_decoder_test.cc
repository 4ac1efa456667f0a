#include "common/text/stream_decoder.h"

#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/base/utf8.h"
#include "common/text/tokenizer_fixture.h"

namespace retort::text {
namespace {

TEST(StreamDecoderTest, PushHalfACharacter_HeldUntilItIsWhole) {
  const auto tokenizer = MakeTokenizer(ByteLevelFile());
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(*decoder.Push(0xC3), "");
  EXPECT_EQ(*decoder.Push(0xA4), "\xc3\xa4");
  EXPECT_EQ(*decoder.Push(0xE6), "");
  EXPECT_EQ(decoder.Finish(), "\xef\xbf\xbd");
}

TEST(StreamDecoderTest, SpecialToken_SkippedUnlessAsked) {
  const auto tokenizer = MakeTokenizer(ByteLevelFile());
  EXPECT_EQ(*StreamDecoder(*tokenizer).Push(300), "");
  EXPECT_EQ(*StreamDecoder(*tokenizer, /*skip_special_tokens=*/false).Push(300), "<eos>");
}

TEST(StreamDecoderTest, PushIdWithoutToken_Refused) {
  const auto tokenizer = MakeTokenizer(ByteLevelFile());
  EXPECT_EQ(StreamDecoder(*tokenizer).Push(299).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(StreamDecoderTest, RandomIds_StreamEqualsWholeAndNeverSplitsACharacter) {
  for (const auto& file : {ByteLevelFile(), SentencePieceFile()}) {
    const auto tokenizer = MakeTokenizer(file);
    CounterRng rng(7, RngPurpose::kData, 0);
    for (int round = 0; round < 200; ++round) {
      StreamDecoder decoder(*tokenizer);
      std::vector<int64_t> ids;
      std::string streamed;
      for (int i = 0; i < 40; ++i) {
        ids.push_back(static_cast<int64_t>(rng.NextBelow(259)));
        const std::string part = *decoder.Push(ids.back());
        EXPECT_FALSE(FirstInvalidByte(part));
        streamed += part;
      }
      streamed += decoder.Finish();
      ASSERT_EQ(streamed, *tokenizer->Decode(ids, true)) << "round " << round;
    }
  }
}

TEST(DecodeContinuationTest, SentencePiece_SpaceOfTheFirstWordStays) {
  const auto tokenizer = MakeTokenizer(SentencePieceFile());
  const std::vector<int64_t> prompt = *tokenizer->Encode("ab", false);
  const std::vector<int64_t> both = *tokenizer->Encode("ab ba", false);
  const std::vector<int64_t> ids(both.begin() + prompt.size(), both.end());
  EXPECT_EQ(*DecodeContinuation(*tokenizer, prompt, ids), " ba");
  EXPECT_EQ(*tokenizer->Decode(ids, true), "ba");  // Why it is not that.
}

TEST(DecodeContinuationTest, CharacterBegunInThePrompt_BelongsToTheContinuation) {
  const auto tokenizer = MakeTokenizer(ByteLevelFile());
  EXPECT_EQ(*DecodeContinuation(*tokenizer, {0xC3}, {0xA4}), "\xc3\xa4");
  EXPECT_FALSE(DecodeContinuation(*tokenizer, {299}, {0xA4}).ok());
}

}  // namespace
}  // namespace retort::text
