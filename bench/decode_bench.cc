// Greedy decoding of forced lengths in fp32, and how much of the machine's read bandwidth it uses.
//   build/bench/decode_bench [--threads=2] [--rounds=7] [--model=DIR | --shape=NAME] [--batch=1,16]
//                            [--device=cuda] [--dtype=bfloat16]
// Each round first reads a buffer of the weights' size as fast as it can, then decodes, so that
// both see the same machine and the same caches. A token of a batch of one reads every weight but
// the embedding's rows once; tokens per second count new tokens only, the time includes the
// prefill.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/numbers.h"
#include "bench_device.h"
#include "bench_model.h"
#include "common/model/generate.h"
#include "common/model/simd.h"
#include "common/tensor/aten.h"
#include "common/tensor/torch_process.h"

ABSL_FLAG(int, threads, 2, "threads");
ABSL_FLAG(int, rounds, 7, "measured rounds, after one to warm up");
ABSL_FLAG(std::string, model, "", "a model folder; empty: random weights of --shape");
ABSL_FLAG(std::vector<std::string>, shape, std::vector<std::string>({"llama-10m", "gpt2-124m"}),
          "llama-10m, gpt2-124m or qwen2-0.5b");
ABSL_FLAG(std::string, device, "cpu", "cpu, or cuda");
ABSL_FLAG(std::string, dtype, "float32", "float32, or bfloat16: how weights are held");
ABSL_FLAG(std::vector<std::string>, batch, std::vector<std::string>({"1", "16"}), "batch sizes");
ABSL_FLAG(int64_t, prompt, 32, "prompt tokens");
ABSL_FLAG(int64_t, new_tokens, 128, "new tokens of each sample");

namespace retort::bench {
namespace {

using model::simd::Float;

// Sums a range, asking for what lies two KiB ahead or leaving that to the hardware: one processor
// likes this better, another that.
template <bool kPrefetch>
struct ReadKernel {
  const float* data;
  int64_t count;
  float* sum;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    constexpr int kStep = 8 * kLanes;
    Float<kBytes> sums[8];
    for (int j = 0; j < 8; ++j) sums[j] = Float<kBytes>{};
    for (int64_t i = 0; i + kStep <= count; i += kStep) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        Float<kBytes> x;
        if (kPrefetch) __builtin_prefetch(data + i + j * kLanes + 512);
        model::simd::Load<kBytes>(data + i + j * kLanes, x);
        sums[j] += x;
      }
    }
    *sum = 0;
    for (int j = 0; j < 8; ++j) *sum += model::simd::Sum<kBytes>(sums[j]);
  }
};

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Bytes a second, over `floats` at `data`.
template <bool kPrefetch>
double ReadRate(const float* data, int64_t floats, int threads) {
  constexpr int kPasses = 5;
  volatile float sink = 0;
  const int64_t share = floats / threads;
  const double start = Seconds();
  for (int pass = 0; pass < kPasses; ++pass) {
    at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        float sum = 0;
        model::simd::Dispatch(ReadKernel<kPrefetch>{data + t * share, share, &sum});
        sink = sum;
      }
    });
  }
  return kPasses * 4.0 * static_cast<double>(share * threads) / (Seconds() - start);
}

// Of a GPU: what a sum over the weights reads.
double DeviceReadRate(const at::Tensor& weights) {
  constexpr int kPasses = 20;
  at::Tensor sum = weights.sum();
  sum.cpu();
  const double start = Seconds();
  for (int pass = 0; pass < kPasses; ++pass) sum = weights.sum();
  sum.cpu();
  return kPasses * static_cast<double>(weights.nbytes()) / (Seconds() - start);
}

double ReadBandwidth(const at::Tensor& weights, int threads) {
  if (!weights.is_cpu()) return DeviceReadRate(weights);
  // Of bf16 as many bytes: what is read is not looked at.
  const float* const data = static_cast<const float*>(weights.const_data_ptr());
  const int64_t floats = static_cast<int64_t>(weights.nbytes() / sizeof(float));
  const double plain = ReadRate<false>(data, floats, threads);
  return std::max(plain, ReadRate<true>(data, floats, threads));
}

// Weights that a token reads: all but the tables of which it takes a row.
int64_t WeightsRead(const BenchModel& m) {
  int64_t elements = 0;
  for (const layout::ParameterEntry& entry : m.arena.layout().entries) {
    const bool table =
        entry.role == layout::ParameterRole::kPositions ||
        (entry.role == layout::ParameterRole::kEmbedding && !m.model.config().tie_word_embeddings);
    if (!table) elements += entry.elements;
  }
  return elements;
}

double DecodeSeconds(const BenchModel& m, int64_t batch) {
  model::SamplingOptions options;
  options.greedy = true;
  options.max_new_tokens = absl::GetFlag(FLAGS_new_tokens);
  std::vector<std::vector<int64_t>> prompts(batch);
  std::vector<model::SampleRequest> samples;
  for (int64_t i = 0; i < batch; ++i) {
    for (int64_t t = 0; t < absl::GetFlag(FLAGS_prompt); ++t) {
      prompts[i].push_back(3 + (i * 31 + t * 7 + i * t) % (m.model.config().vocab_size - 300));
    }
    samples.push_back({i, CounterRng(1, RngPurpose::kSampling, 0)});
  }
  const double start = Seconds();
  const auto result = model::Generate(m.model, prompts, samples, options, {.max_batch = batch});
  const double seconds = Seconds() - start;
  RETORT_CHECK(result.ok()) << result.status().ToString();
  return seconds;
}

void Measure(const BenchModel& m, int64_t batch) {
  const int threads = absl::GetFlag(FLAGS_threads);
  const int64_t tokens = batch * absl::GetFlag(FLAGS_new_tokens);
  const at::Tensor weights = m.arena.flat().narrow(0, 0, WeightsRead(m));
  const auto bytes = static_cast<double>(weights.nbytes());
  std::vector<double> rates, bandwidths, shares;
  for (int round = -1; round < absl::GetFlag(FLAGS_rounds); ++round) {
    const double bandwidth = ReadBandwidth(weights, threads);
    const double rate = static_cast<double>(tokens) / DecodeSeconds(m, batch);
    if (round < 0) continue;
    rates.push_back(rate);
    bandwidths.push_back(bandwidth);
    shares.push_back(rate / static_cast<double>(batch) * bytes / bandwidth);
  }
  std::printf(
      "%-16s B=%-3ld %d threads  %8.1f tok/s (%.1f .. %.1f)  weights %.0f MB, read %.1f GB/s"
      " (%.1f .. %.1f)  share %.0f%%\n",
      m.name.c_str(), static_cast<long>(batch), threads, Quantile(rates, 0.5),
      Quantile(rates, 0.25), Quantile(rates, 0.75), bytes / 1e6, Quantile(bandwidths, 0.5) / 1e9,
      Quantile(bandwidths, 0.25) / 1e9, Quantile(bandwidths, 0.75) / 1e9,
      100 * Quantile(shares, 0.5));
  std::fflush(stdout);
}

void MeasureAll(const BenchModel& m) {
  for (const std::string& text : absl::GetFlag(FLAGS_batch)) {
    int64_t batch = 0;
    RETORT_CHECK(absl::SimpleAtoi(text, &batch) && batch >= 1) << "--batch=" << text;
    Measure(m, batch);
  }
}

int Main() {
  const BenchDevice device =
      OpenBenchDevice(absl::GetFlag(FLAGS_device), absl::GetFlag(FLAGS_threads));
  const std::string folder = absl::GetFlag(FLAGS_model), dtype = absl::GetFlag(FLAGS_dtype);
  RETORT_CHECK(dtype == "float32" || dtype == "bfloat16") << "--dtype=" << dtype;
  const at::ScalarType type = dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  if (!folder.empty()) {
    MeasureAll(MovedTo(LoadedModel(folder), device.device, type));
    return 0;
  }
  for (const std::string& shape : absl::GetFlag(FLAGS_shape)) {
    MeasureAll(MovedTo(ModelOfShape(shape), device.device, type));
  }
  return 0;
}

}  // namespace
}  // namespace retort::bench

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return retort::bench::Main();
}
