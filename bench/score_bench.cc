// Log-probs of given tokens: the forward over packed sequences and the head, without gradients.
//   build/bench/score_bench [--threads=2] [--rounds=7] [--model=DIR] [--head_vocab=151936]
// Prints tokens per second and the most memory that the rounds added to what was there before them.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/match.h"
#include "bench_model.h"
#include "common/base/rng.h"
#include "common/model/vocab_head.h"
#include "common/tensor/torch_process.h"

ABSL_FLAG(int, threads, 2, "threads");
ABSL_FLAG(int, rounds, 7, "measured rounds, after one to warm up");
ABSL_FLAG(std::string, model, "", "a model folder; empty: random weights of the 10 M Llama");
ABSL_FLAG(int64_t, head_vocab, 0, "a random head of so many ids instead of the model's; 0: both");
ABSL_FLAG(int64_t, batch, 8, "sequences");
ABSL_FLAG(int64_t, len, 256, "tokens of the longest");
ABSL_FLAG(int64_t, shortest, 0, "ragged: lengths spread evenly from here to --len; 0: all --len");

namespace retort::bench {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A field of /proc/self/status in MB.
double Memory(const char* field) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (absl::StartsWith(line, field)) return std::stod(line.substr(line.find(':') + 1)) / 1024;
  }
  return 0;
}

void ResetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

// The rows that predict a token of every sequence, and those tokens.
struct Problem {
  model::PackedBatch batch;
  at::Tensor rows, targets;
};

Problem MakeProblem(int64_t vocab, int64_t head_vocab) {
  const int64_t count = absl::GetFlag(FLAGS_batch), longest = absl::GetFlag(FLAGS_len);
  const int64_t shortest = absl::GetFlag(FLAGS_shortest);
  CounterRng rng(1, RngPurpose::kData, 0);
  std::vector<std::vector<int64_t>> sequences;
  std::vector<int64_t> rows, targets;
  int64_t first = 0;
  for (int64_t s = 0; s < count; ++s) {
    const int64_t length =
        shortest == 0 ? longest
                      : shortest + (longest - shortest) * s / std::max<int64_t>(1, count - 1);
    std::vector<int64_t>& ids = sequences.emplace_back();
    for (int64_t t = 0; t < length; ++t) {
      ids.push_back(static_cast<int64_t>(rng.NextBelow(vocab)));
      if (t == 0) continue;
      rows.push_back(first + t - 1);
      targets.push_back(static_cast<int64_t>(rng.NextBelow(head_vocab)));
    }
    first += length;
  }
  return {model::Pack(sequences), at::tensor(rows, at::kLong), at::tensor(targets, at::kLong)};
}

void Measure(const BenchModel& m, int64_t head_vocab) {
  const at::NoGradGuard no_grad;
  const layout::ModelConfig& config = m.model.config();
  model::HeadWeights head{m.model.head().weight, m.model.head().bias};
  if (head_vocab != config.vocab_size) {
    head = {at::randn({head_vocab, config.embedding_size()}) * 0.02, {}};
  }
  const Problem p = MakeProblem(config.vocab_size, head_vocab);
  std::vector<double> seconds, peaks;
  for (int round = -1; round < absl::GetFlag(FLAGS_rounds); ++round) {
    ResetPeak();
    const double before = Memory("VmRSS"), start = Seconds();
    const at::Tensor hidden = m.model.Hidden(p.batch).index_select(0, p.rows);
    const at::Tensor log_probs =
        model::HeadForward(hidden, head, p.targets, {1.0, config.final_soft_cap, {}}, {}).log_probs;
    const double elapsed = Seconds() - start;
    peaks.push_back(Memory("VmHWM") - before);
    if (round >= 0) seconds.push_back(elapsed);
    RETORT_CHECK(log_probs.isfinite().all().item<bool>()) << "a log-prob is not finite";
  }
  const double median = Quantile(seconds, 0.5);
  std::printf(
      "%-16s V=%-7ld %ld tokens, %d threads  %7.1f ms (%.1f .. %.1f)  %.0f tok/s  "
      "memory +%.0f MB (logits: %.0f MB)\n",
      m.name.c_str(), static_cast<long>(head_vocab), static_cast<long>(p.batch.tokens()),
      absl::GetFlag(FLAGS_threads), 1e3 * median, 1e3 * Quantile(seconds, 0.25),
      1e3 * Quantile(seconds, 0.75), static_cast<double>(p.batch.tokens()) / median,
      *std::max_element(peaks.begin(), peaks.end()),
      4e-6 * static_cast<double>(p.rows.numel() * head_vocab));
  std::fflush(stdout);
}

int Main() {
  tensor::ConfigureTorchProcess(absl::GetFlag(FLAGS_threads));
  const std::string folder = absl::GetFlag(FLAGS_model);
  const BenchModel m = folder.empty() ? RandomModel("llama-10m", Llama10m()) : LoadedModel(folder);
  const int64_t vocab = absl::GetFlag(FLAGS_head_vocab);
  if (vocab != 0) {
    Measure(m, vocab);
    return 0;
  }
  Measure(m, m.model.config().vocab_size);
  Measure(m, 151936);
  return 0;
}

}  // namespace
}  // namespace retort::bench

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return retort::bench::Main();
}
