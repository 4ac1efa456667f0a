#include "common/text/stream_decoder.h"

#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/text/tokenizer_fixture.h"
#include "common/text/utf8.h"

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

}  // namespace
}  // namespace retort::text
