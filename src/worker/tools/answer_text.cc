#include "worker/tools/answer_text.h"

#include <utility>

#include "common/base/status_macros.h"

namespace retort::worker {

absl::StatusOr<std::unique_ptr<AnswerText>> AnswerText::Make(const text::Tokenizer& tokenizer,
                                                             absl::Span<const int64_t> prompt,
                                                             std::vector<std::string> stops) {
  std::unique_ptr<AnswerText> answer(new AnswerText(tokenizer, std::move(stops)));
  for (const int64_t id : prompt) RETORT_RETURN_IF_ERROR(answer->decoder_.Push(id).status());
  return answer;
}

absl::Status AnswerText::Push(int64_t id) {
  RETORT_ASSIGN_OR_RETURN(const std::string piece, decoder_.Push(id));
  text_ += stop_.Push(piece);
  return absl::OkStatus();
}

void AnswerText::Finish() {
  text_ += stop_.Push(decoder_.Finish());
  text_ += stop_.Finish();
}

std::string AnswerText::TakeNew() {
  std::string fresh = text_.substr(taken_);
  taken_ = text_.size();
  return fresh;
}

}  // namespace retort::worker
