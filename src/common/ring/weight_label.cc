#include "common/ring/weight_label.h"

#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace retort::ring {
namespace {

// First the digest, then the canary's floats.
struct DigestWords {
  uint64_t high, low;
};
static_assert(sizeof(DigestWords) + kMaxCanaryFloats * sizeof(float) <= kMaxAnnotationBytes);

}  // namespace

std::string EncodeWeightLabel(const WeightLabel& label) {
  const DigestWords words{label.digest.high, label.digest.low};
  std::string text(reinterpret_cast<const char*>(&words), sizeof(words));
  text.append(reinterpret_cast<const char*>(label.canary.data()),
              label.canary.size() * sizeof(float));
  return text;
}

absl::StatusOr<WeightLabel> ReadWeightLabel(const TensorHeader& header, const Digest& expected) {
  const std::string& text = header.annotation;
  if (text.size() < sizeof(DigestWords) ||
      (text.size() - sizeof(DigestWords)) % sizeof(float) != 0) {
    return absl::DataLossError(
        absl::StrCat("weight version ", header.sequence, ": its slot's header is damaged"));
  }
  DigestWords words;
  std::memcpy(&words, text.data(), sizeof(words));
  WeightLabel label;
  label.digest = {words.high, words.low};
  label.canary.resize((text.size() - sizeof(words)) / sizeof(float));
  if (!label.canary.empty()) {
    std::memcpy(label.canary.data(), text.data() + sizeof(words), text.size() - sizeof(words));
  }
  if (label.digest == expected) return label;
  return absl::DataLossError(absl::StrCat("weight version ", header.sequence,
                                          " in the ring has digest ", label.digest.ToHex(),
                                          ", expected ", expected.ToHex()));
}

}  // namespace retort::ring
