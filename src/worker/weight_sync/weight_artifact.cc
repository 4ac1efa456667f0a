#include "worker/weight_sync/weight_artifact.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/ring/weight_ring.h"

namespace retort::worker {
namespace {

// The part of `from` that lies in [offset, offset + out) when `from` begins at `begin`.
template <typename T>
void CopyOverlap(absl::Span<const T> from, int64_t begin, int64_t offset, absl::Span<char> out) {
  const int64_t from_bytes = static_cast<int64_t>(from.size() * sizeof(T));
  const int64_t first = std::max(begin, offset);
  const int64_t last = std::min(begin + from_bytes, offset + static_cast<int64_t>(out.size()));
  if (first >= last) return;
  std::memcpy(out.data() + (first - offset),
              reinterpret_cast<const char*>(from.data()) + (first - begin),
              static_cast<size_t>(last - first));
}

rpc::ServedArtifact Serve(std::shared_ptr<const ring::WeightRingReader> reader,
                          ring::WeightView view) {
  const int64_t weight_bytes = static_cast<int64_t>(view.weights.size() * sizeof(float));
  rpc::ServedArtifact artifact;
  artifact.bytes = weight_bytes + static_cast<int64_t>(view.canary.size() * sizeof(float));
  artifact.read = [reader = std::move(reader), view = std::move(view), weight_bytes](
                      int64_t offset, absl::Span<char> out) -> absl::Status {
    CopyOverlap(view.weights, 0, offset, out);
    CopyOverlap(absl::MakeConstSpan(view.canary), weight_bytes, offset, out);
    if (reader->StillHolds(view)) return absl::OkStatus();
    return absl::AbortedError(absl::StrCat("policy version ", view.version,
                                           " was overwritten in the ring while it was sent"));
  };
  return artifact;
}

}  // namespace

std::string WeightArtifactId(int64_t version, uint64_t min_epoch, const Digest& digest) {
  return absl::StrCat(kWeightArtifactPrefix, "v", version, "-e", min_epoch, "-", digest.ToHex());
}

absl::StatusOr<ring::AcquireRequest> ParseWeightArtifactId(const std::string& id) {
  const std::vector<absl::string_view> parts = absl::StrSplit(id, '-');
  ring::AcquireRequest request;
  if (parts.size() == 4 && absl::StrCat(parts[0], "-") == kWeightArtifactPrefix) {
    absl::string_view version = parts[1], epoch = parts[2];
    const absl::StatusOr<Digest> digest = Digest::FromHex(parts[3]);
    if (absl::ConsumePrefix(&version, "v") && absl::SimpleAtoi(version, &request.version) &&
        absl::ConsumePrefix(&epoch, "e") && absl::SimpleAtoi(epoch, &request.min_epoch) &&
        digest.ok()) {
      request.digest = *digest;
      return request;
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", id, "\" names no policy version; expected weights-vN-eN-DIGEST"));
}

absl::StatusOr<rpc::ArtifactLookup> ServeWeights(ring::Segment segment, absl::Duration timeout) {
  RETORT_ASSIGN_OR_RETURN(ring::WeightRingReader opened,
                          ring::WeightRingReader::Open(std::move(segment), timeout));
  const auto reader = std::make_shared<const ring::WeightRingReader>(std::move(opened));
  return [reader](const std::string& id) -> absl::StatusOr<rpc::ServedArtifact> {
    RETORT_ASSIGN_OR_RETURN(const ring::AcquireRequest request, ParseWeightArtifactId(id));
    absl::StatusOr<ring::WeightView> view = reader->Acquire(request);
    if (absl::IsDeadlineExceeded(view.status()))
      return absl::NotFoundError(view.status().message());
    RETORT_RETURN_IF_ERROR(view.status());
    return Serve(reader, *std::move(view));
  };
}

}  // namespace retort::worker
