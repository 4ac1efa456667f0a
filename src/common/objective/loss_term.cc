#include "common/objective/loss_term.h"

#include "common/base/check.h"

namespace retort::objective {

at::Tensor TotalLoss(absl::Span<const LossTerm> terms) {
  RETORT_CHECK(!terms.empty()) << "a loss without terms";
  at::Tensor total;
  for (const LossTerm& term : terms) {
    RETORT_CHECK(term.denominator > 0) << "denominator " << term.denominator;
    const at::Tensor part = term.sum * (term.weight / term.denominator);
    total = total.defined() ? total + part : part;
  }
  return total;
}

}  // namespace retort::objective
