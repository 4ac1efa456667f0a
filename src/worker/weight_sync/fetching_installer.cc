// Installs policy versions that lie in the weight ring of another host.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/ring/weight_ring.h"
#include "common/tensor/parameter_arena.h"
#include "worker/weight_sync/canary.h"
#include "worker/weight_sync/installed_copy.h"
#include "worker/weight_sync/installer.h"
#include "worker/weight_sync/publisher.h"
#include "worker/weight_sync/weight_artifact.h"

namespace retort::worker {
namespace {

constexpr absl::Duration kRetryPause = absl::Milliseconds(50);
constexpr absl::Duration kLongestFetch = absl::Minutes(59);  // The service refuses an hour.
constexpr int64_t kFloatBytes = sizeof(float);

// Writes a weight artifact where it belongs: first the weights, then the canary.
class WeightSink {
 public:
  explicit WeightSink(absl::Span<float> weights) : weights_(weights) {}

  rpc::ArtifactSink AsSink() {
    return {.begin = [this](int64_t total) { return Begin(total); },
            .data = [this](absl::string_view bytes) { return Take(bytes); }};
  }
  absl::Span<const float> canary() const { return canary_; }

 private:
  int64_t weight_bytes() const { return static_cast<int64_t>(weights_.size()) * kFloatBytes; }

  absl::Status Begin(int64_t total) {
    const int64_t canary_bytes = total - weight_bytes();
    if (canary_bytes < kFloatBytes || canary_bytes > ring::kMaxCanaryFloats * kFloatBytes ||
        canary_bytes % kFloatBytes != 0) {
      return absl::DataLossError(
          absl::StrCat("the holder announces ", total, " bytes, expected ", weight_bytes(),
                       " of weights and up to ", ring::kMaxCanaryFloats,
                       " floats of a canary; do learner and worker read the same config.json?"));
    }
    canary_.resize(static_cast<size_t>(canary_bytes / kFloatBytes));
    return absl::OkStatus();
  }

  // The stream hands on no more than was announced.
  absl::Status Take(absl::string_view bytes) {
    const int64_t of_weights =
        std::clamp<int64_t>(weight_bytes() - taken_, 0, static_cast<int64_t>(bytes.size()));
    std::memcpy(reinterpret_cast<char*>(weights_.data()) + std::min(taken_, weight_bytes()),
                bytes.data(), static_cast<size_t>(of_weights));
    taken_ += of_weights;
    bytes.remove_prefix(static_cast<size_t>(of_weights));
    if (bytes.empty()) return absl::OkStatus();
    std::memcpy(reinterpret_cast<char*>(canary_.data()) + (taken_ - weight_bytes()), bytes.data(),
                bytes.size());
    taken_ += static_cast<int64_t>(bytes.size());
    return absl::OkStatus();
  }

  const absl::Span<float> weights_;
  std::vector<float> canary_;
  int64_t taken_ = 0;
};

// Not there yet, or its holder is not: another try may find it.
bool MayCome(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsAborted(status) || absl::IsUnavailable(status) ||
         absl::IsResourceExhausted(status);
}

class FetchingInstaller : public Installer {
 public:
  // `staging`: where weights come in that are not fetched in place.
  FetchingInstaller(InstalledCopy copy, std::vector<float> staging, WeightFetcher fetch)
      : copy_(std::move(copy)), staging_(std::move(staging)), fetch_(std::move(fetch)) {}

  absl::StatusOr<InstalledVersion> Install(const VersionRequest& request) override;

  absl::Status StillHolds() const override {
    if (installed_.has_value()) return absl::OkStatus();
    return absl::AbortedError("no policy version is installed");
  }

 private:
  struct Installed {
    int64_t version;
    Digest digest;
  };

  // The digest of what came.
  absl::StatusOr<Digest> FetchOnce(const VersionRequest& request, absl::Duration patience);

  InstalledCopy copy_;
  std::vector<float> staging_;
  const WeightFetcher fetch_;
  std::optional<Installed> installed_;
};

absl::StatusOr<Digest> FetchingInstaller::FetchOnce(const VersionRequest& request,
                                                    absl::Duration patience) {
  const absl::Duration start = Clock::Real()->Now();
  const absl::Span<float> weights =
      staging_.empty() ? copy_.fill_in_place() : absl::MakeSpan(staging_);
  const int64_t bytes = static_cast<int64_t>(weights.size()) * kFloatBytes;
  const absl::Duration deadline =
      std::min(kLongestFetch, patience + absl::Seconds(bytes / kSlowestFetch + 1));
  WeightSink sink(weights);
  RETORT_RETURN_IF_ERROR(
      fetch_(request.holder, WeightArtifactId(request.version, request.min_epoch, request.digest),
             deadline, sink.AsSink()));
  const Digest got = DigestOfWeights(absl::Span<const float>(weights));
  if (got != request.digest) {
    return absl::DataLossError(absl::StrCat("the weights from ", request.holder, " hash to ",
                                            got.ToHex(), ", expected ", request.digest.ToHex()));
  }
  RETORT_RETURN_IF_ERROR(copy_.Fill(weights));
  RETORT_ASSIGN_OR_RETURN(const std::vector<float> canary, model::Canary(copy_.model()));
  RETORT_RETURN_IF_ERROR(CompareCanaries(sink.canary(), canary, CanaryRule::kWithinTolerance));
  LogInfo("weights fetched version={} from={} bytes={} seconds={}", request.version, request.holder,
          bytes, absl::ToDoubleSeconds(Clock::Real()->Now() - start));
  return got;
}

absl::StatusOr<InstalledVersion> FetchingInstaller::Install(const VersionRequest& request) {
  // The digest says what the bytes are, so an epoch that publishes the version again changes
  // nothing.
  if (installed_.has_value() && installed_->version == request.version &&
      installed_->digest == request.digest) {
    return InstalledVersion{&copy_.model(), installed_->digest, absl::ZeroDuration()};
  }
  installed_.reset();
  const absl::Duration end = Clock::Real()->Now() + request.timeout;
  while (true) {
    const absl::Duration start = Clock::Real()->Now();
    const absl::StatusOr<Digest> fetched =
        FetchOnce(request, std::max(end - start, absl::ZeroDuration()));
    if (fetched.ok()) {
      installed_ = Installed{request.version, *fetched};
      return InstalledVersion{&copy_.model(), *fetched, Clock::Real()->Now() - start};
    }
    const std::string what = absl::StrCat("policy version ", request.version);
    if (!MayCome(fetched.status())) return WithContext(fetched.status(), what);
    const absl::Duration left = end - Clock::Real()->Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat(what, " could not be fetched from ", request.holder, " within ",
                       absl::FormatDuration(request.timeout), ": ", fetched.status().message()));
    }
    absl::SleepFor(std::min(kRetryPause, left));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Installer>> Installer::Fetching(const PolicyModel& policy,
                                                               WeightFetcher fetch) {
  RETORT_ASSIGN_OR_RETURN(InstalledCopy copy, InstalledCopy::Make(policy));
  const bool in_place = !copy.fill_in_place().empty();
  const int64_t elements = policy.TrainedLayout(/*value_head=*/false).published_elements;
  return std::make_unique<FetchingInstaller>(
      std::move(copy), std::vector<float>(in_place ? 0 : static_cast<size_t>(elements)),
      std::move(fetch));
}

}  // namespace retort::worker
