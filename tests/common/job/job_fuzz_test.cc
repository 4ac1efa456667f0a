// Random damage to valid job files: every result is a status or a spec that survives its own
// printing.
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/base/rng.h"
#include "common/job/job_file.h"
#include "common/job/job_text.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace retort::job {
namespace {

constexpr int kMutations = 3000;

const char* const kTokens[] = {"&a ",
                               "*a",
                               "!!x ",
                               "!",
                               "---\n",
                               "...\n",
                               "[",
                               "]",
                               "{",
                               "}",
                               ": ",
                               ",",
                               "\n",
                               "  ",
                               "\t",
                               "- ",
                               "? ",
                               "|\n",
                               ">\n",
                               "\"",
                               "'",
                               "#",
                               "%TAG",
                               "@",
                               "`",
                               "~",
                               "null",
                               "-1",
                               "1e9",
                               "nan",
                               "\\x",
                               "\xff",
                               "<<: ",
                               "\r",
                               "é",
                               "\x04",
                               "99999999999999999999"};

std::string Damage(std::string text, CounterRng& rng) {
  for (uint64_t left = 1 + rng.NextBelow(4); left > 0 && !text.empty(); --left) {
    const size_t at = rng.NextBelow(text.size());
    const size_t length = rng.NextBelow(std::min<size_t>(40, text.size() - at) + 1);
    switch (rng.NextBelow(6)) {
      case 0:
        text[at] = static_cast<char>(rng.NextBelow(256));
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, text.substr(rng.NextBelow(text.size()), length));
        break;
      case 3:
        text.insert(at, kTokens[rng.NextBelow(std::size(kTokens))]);
        break;
      case 4:
        text.resize(at);
        break;
      case 5: {
        std::string many;
        const char* token = kTokens[rng.NextBelow(std::size(kTokens))];
        for (uint64_t n = rng.NextBelow(700); n > 0; --n) many += token;
        text.insert(at, many);
        break;
      }
    }
  }
  return text;
}

uint64_t Seed() {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  return seed;
}

TEST(JobFuzzTest, ParseJob_DamagedText_StatusOrRoundTrip) {
  CounterRng rng(Seed(), RngPurpose::kData, 0);
  const std::string bases[] = {kPpoJob, kSftJob, kFullPpoJob};
  int accepted = 0;
  for (int i = 0; i < kMutations; ++i) {
    const std::string text = Damage(bases[rng.NextBelow(3)], rng);
    const auto job = ParseJob(text, "job.yaml", "/base");
    if (!job.ok()) {
      ASSERT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument);
      ASSERT_TRUE(absl::StartsWith(job.status().message(), "job.yaml:")) << job.status();
      ASSERT_FALSE(absl::StrContains(job.status().message(), "\n")) << job.status();
      continue;
    }
    ++accepted;
    const auto again = ParseJob(JobToYaml(job->spec), "again.yaml", "/");
    ASSERT_TRUE(again.ok()) << again.status() << "\nfrom\n" << text;
    ASSERT_TRUE(google::protobuf::util::MessageDifferencer::Equals(job->spec, again->spec)) << text;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, kMutations);
}

TEST(JobFuzzTest, ParseJob_DamagedOverride_NeverCrashes) {
  CounterRng rng(Seed(), RngPurpose::kData, 1);
  const std::string bases[] = {"algorithm.ppo.gamma=0.5", "rewards.1={type: length, target: 3}",
                               "optimizer={learning_rate: 1.0e-3, beta1: 0.5}"};
  for (int i = 0; i < kMutations; ++i) {
    const std::vector<std::string> overrides = {Damage(bases[rng.NextBelow(3)], rng)};
    const auto job = ParseJob(kPpoJob, "job.yaml", "/base", overrides);
    if (job.ok()) continue;
    ASSERT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace retort::job
