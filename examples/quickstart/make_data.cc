// quickstart-data: makes the quick start's folder from a seed: train.jsonl, heldout.jsonl and
// model/ (config and tokenizer of a small Llama, without weights). The same arguments give the same
// bytes.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort::examples {
namespace {

constexpr int kSortDigits = 6;
constexpr uint64_t kAddends = 100;  // 0 .. 99.

struct Options {
  std::string task = "sort";
  std::string out;
  uint64_t seed = 1;
  std::optional<int64_t> train_rows;  // Default: 60,000, or 9,000 of addition's 10,000 prompts.
  int64_t heldout_rows = 1000;
};

struct TaskRow {
  std::string prompt;
  std::string answer;
};

// `514203=` -> `012345`.
TaskRow SortRow(CounterRng& rng) {
  std::string digits;
  for (int i = 0; i < kSortDigits; ++i)
    digits.push_back(static_cast<char>('0' + rng.NextBelow(10)));
  std::string sorted = digits;
  std::sort(sorted.begin(), sorted.end());
  return {digits + "=", sorted};
}

// `7+85=` -> `92`.
TaskRow AdditionRow(CounterRng& rng) {
  const uint64_t a = rng.NextBelow(kAddends), b = rng.NextBelow(kAddends);
  return {absl::StrCat(a, "+", b, "="), absl::StrCat(a + b)};
}

int64_t TrainRows(const Options& options) {
  return options.train_rows.value_or(options.task == "sort" ? 60'000 : 9'000);
}

absl::Status CheckOptions(const Options& options) {
  const int64_t possible = options.task == "sort" ? 1'000'000 : kAddends * kAddends;
  const int64_t wanted = TrainRows(options) + options.heldout_rows;
  if (wanted <= possible) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--train-rows plus --heldout-rows is ", wanted,
                                                 "; the task has ", possible,
                                                 " different prompts"));
}

// Distinct prompts, so that train and held-out rows are disjoint.
std::vector<TaskRow> MakeRows(const Options& options) {
  CounterRng rng(options.seed, RngPurpose::kData, options.task == "sort" ? 0 : 1);
  absl::flat_hash_set<std::string> seen;
  std::vector<TaskRow> rows;
  while (static_cast<int64_t>(rows.size()) < TrainRows(options) + options.heldout_rows) {
    TaskRow row = options.task == "sort" ? SortRow(rng) : AdditionRow(rng);
    if (seen.insert(row.prompt).second) rows.push_back(std::move(row));
  }
  return rows;
}

absl::Status WriteRows(const std::string& path, const TaskRow* begin, const TaskRow* end) {
  std::string text;
  for (const TaskRow* row = begin; row != end; ++row) {
    absl::StrAppend(&text, DumpJson(Json{{"prompt", row->prompt}, {"answer", row->answer}}), "\n");
  }
  return WriteFileAtomically(path, text);
}

// One token per character.
Json MakeTokenizer() {
  const std::vector<std::string> tokens = {"<pad>", "<bos>", "<eos>", "0", "1", "2", "3", "4",
                                           "5",     "6",     "7",     "8", "9", "+", "="};
  Json vocabulary = Json::object(), added = Json::array();
  for (size_t id = 0; id < tokens.size(); ++id) {
    vocabulary[tokens[id]] = id;
    if (id >= 3) continue;
    added.push_back({{"id", id},
                     {"content", tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", byte_level},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocabulary},
            {"merges", Json::array()}}}};
}

Json MakeTokenizerConfig() {
  return {{"tokenizer_class", "PreTrainedTokenizerFast"},
          {"bos_token", "<bos>"},
          {"eos_token", "<eos>"},
          {"pad_token", "<pad>"},
          {"clean_up_tokenization_spaces", false},
          {"model_max_length", 64}};
}

// 299,392 parameters.
Json MakeModelConfig() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", 15},
          {"hidden_size", 128},
          {"intermediate_size", 256},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"hidden_act", "silu"},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"rope_scaling", nullptr},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"tie_word_embeddings", false},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"pad_token_id", 0},
          {"torch_dtype", "float32"}};
}

absl::Status MakeFolder(const Options& options) {
  RETORT_RETURN_IF_ERROR(CheckOptions(options));
  const std::vector<TaskRow> rows = MakeRows(options);
  const std::string model = options.out + "/model";
  RETORT_RETURN_IF_ERROR(MakeDirectories(model));
  const TaskRow* heldout = rows.data() + TrainRows(options);
  RETORT_RETURN_IF_ERROR(WriteRows(options.out + "/train.jsonl", rows.data(), heldout));
  RETORT_RETURN_IF_ERROR(
      WriteRows(options.out + "/heldout.jsonl", heldout, rows.data() + rows.size()));
  RETORT_RETURN_IF_ERROR(
      WriteFileAtomically(model + "/config.json", DumpJson(MakeModelConfig(), 2) + "\n"));
  RETORT_RETURN_IF_ERROR(WriteFileAtomically(model + "/tokenizer_config.json",
                                             DumpJson(MakeTokenizerConfig(), 2) + "\n"));
  return WriteFileAtomically(model + "/tokenizer.json", DumpJson(MakeTokenizer(), 1) + "\n");
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Makes the quick start's data and model folder.");
  app.add_option("--task", options.task,
                 "sort: six digits; addition: two numbers below 100, harder")
      ->check(CLI::IsMember({"sort", "addition"}))
      ->capture_default_str();
  app.add_option("--out", options.out, "folder to write")->required();
  app.add_option("--seed", options.seed, "rows are a function of it")->capture_default_str();
  app.add_option("--train-rows", options.train_rows,
                 "rows of train.jsonl [60000 sort, 9000 addition]")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--heldout-rows", options.heldout_rows, "rows of heldout.jsonl")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = MakeFolder(options);
  if (!status.ok()) {
    std::fprintf(stderr, "quickstart-data: %s\n", std::string(status.message()).c_str());
    return 2;
  }
  std::printf("%s: %d training rows, %d held-out rows, task %s, seed %u\n", options.out.c_str(),
              static_cast<int>(TrainRows(options)), static_cast<int>(options.heldout_rows),
              options.task.c_str(), static_cast<unsigned>(options.seed));
  return 0;
}

}  // namespace
}  // namespace retort::examples

int main(int argc, char** argv) { return retort::examples::Main(argc, argv); }
