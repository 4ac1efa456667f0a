#include "worker/weight_sync/canary.h"

#include <bit>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace retort::worker {
namespace {

bool Agree(float a, float b, CanaryRule rule) {
  if (std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b)) return true;
  return rule == CanaryRule::kWithinTolerance && std::abs(a - b) <= kCanaryTolerance;
}

}  // namespace

absl::Status CompareCanaries(absl::Span<const float> published, absl::Span<const float> computed,
                             CanaryRule rule) {
  if (published.size() != computed.size()) {
    return absl::DataLossError(absl::StrCat("canary has ", computed.size(),
                                            " values, the publisher's has ", published.size(),
                                            "; are publisher and worker of one build?"));
  }
  for (size_t i = 0; i < published.size(); ++i) {
    if (Agree(published[i], computed[i], rule)) continue;
    return absl::DataLossError(
        absl::StrFormat("canary log-prob %d differs: published %.9g, computed here %.9g; the "
                        "weights or the kernels are not the same",
                        i, published[i], computed[i]));
  }
  return absl::OkStatus();
}

}  // namespace retort::worker
