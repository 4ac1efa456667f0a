// Runs a fuzz target without libFuzzer, so that any compiler and every ctest run has it: the
// target's seeds, then random mutations of them, then it says how many it ran. Mutation i follows
// from (seed, i) alone. Whatever way the target dies, the seed and the input's number are printed:
//   fuzz_job                                   a new seed, two seconds
//   fuzz_job --limit=60s --inputs=100000000    a new seed, a minute
//   fuzz_job --seed=17 --limit=inf             the same inputs again
//   fuzz_job --seed=17 --only=2031             one of them, in this process, written out first
//   fuzz_job FILE...                           inputs that libFuzzer saved
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/rng.h"
#include "fuzz/fuzz_target.h"
#include "fuzz/mutate.h"

ABSL_FLAG(uint64_t, seed, 0, "of the mutations; 0 draws one");
ABSL_FLAG(int64_t, inputs, 10000, "mutated inputs to run");
ABSL_FLAG(int64_t, only, -1, "run this one mutated input only");
ABSL_FLAG(absl::Duration, limit, absl::Seconds(2), "start no input later");

namespace retort::fuzz {
namespace {

constexpr unsigned kHangSeconds = 30;  // An input that takes longer kills the process.
constexpr int64_t kMaxFileBytes = int64_t{64} << 20;

void Run(const std::string& input) {
  alarm(kHangSeconds);
  // A copy of exactly its size: an address sanitizer then sees a read behind the end.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  alarm(0);
}

std::string MutatedInput(const std::vector<std::string>& seeds, uint64_t seed, int64_t index) {
  CounterRng rng(seed, RngPurpose::kData, static_cast<uint64_t>(index));
  const std::string& input = seeds[rng.NextBelow(seeds.size())];
  return Mutate(input, seeds[rng.NextBelow(seeds.size())], rng);
}

// `next` always names the input that runs: those below 0 are seeds.
void RunAll(uint64_t seed, absl::Duration limit, std::atomic<int64_t>* next) {
  const std::vector<std::string> seeds = Seeds();
  const auto count = static_cast<int64_t>(seeds.size());
  RETORT_CHECK(count > 0);
  for (int64_t i = 0; i < count; ++i) {
    *next = i - count;
    Run(seeds[i]);
    RETORT_CHECK(AcceptedCount() == i + 1) << "seed " << i << " was refused";
  }
  const absl::Time end = absl::Now() + limit;
  const int64_t inputs = absl::GetFlag(FLAGS_inputs);
  for (*next = 0; *next < inputs && absl::Now() < end; ++*next) {
    Run(MutatedInput(seeds, seed, *next));
  }
  std::cout << count << " seeds, " << *next << " mutations, " << AcceptedCount() - count
            << " of them accepted\n";
}

// In a child, so that the parent can say where it died.
int RunInChild(uint64_t seed, absl::Duration limit) {
  void* shared = mmap(nullptr, sizeof(std::atomic<int64_t>), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  RETORT_CHECK(shared != MAP_FAILED);
  auto* next = new (shared) std::atomic<int64_t>(0);
  const pid_t child = fork();
  RETORT_CHECK(child >= 0);
  if (child == 0) {
    RunAll(seed, limit, next);
    return 0;
  }
  int status = 0;
  RETORT_CHECK(waitpid(child, &status, 0) == child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
  std::cerr << (WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exited with an error")
            << " at input " << *next << "; run again with --seed=" << seed << " --only=" << *next
            << "\n";
  return 1;
}

int RunOnly(uint64_t seed, int64_t only) {
  const std::string input = MutatedInput(Seeds(), seed, only);
  std::cout << input << std::endl;
  Run(input);
  return 0;
}

int RunFiles(const std::vector<char*>& paths) {
  for (size_t i = 1; i < paths.size(); ++i) {
    std::cout << paths[i] << std::endl;
    const absl::StatusOr<std::string> input = ReadFile(paths[i], kMaxFileBytes);
    RETORT_CHECK(input.ok()) << input.status();
    Run(*input);
  }
  return 0;
}

int Main(int argc, char** argv) {
  const std::vector<char*> positional = absl::ParseCommandLine(argc, argv);
  if (positional.size() > 1) return RunFiles(positional);
  const uint64_t chosen = absl::GetFlag(FLAGS_seed);
  const uint64_t seed = chosen != 0 ? chosen : 1 + std::random_device()();
  std::cout << "seed " << seed << std::endl;
  const int64_t only = absl::GetFlag(FLAGS_only);
  if (only >= 0) return RunOnly(seed, only);
  return RunInChild(seed, absl::GetFlag(FLAGS_limit));
}

}  // namespace
}  // namespace retort::fuzz

int main(int argc, char** argv) { return retort::fuzz::Main(argc, argv); }
