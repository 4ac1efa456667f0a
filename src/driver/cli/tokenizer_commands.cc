#include "driver/cli/tokenizer_commands.h"

#include <fstream>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/read_line.h"
#include "common/base/status_macros.h"
#include "common/base/text_argument.h"
#include "common/base/utf8.h"
#include "common/base/write_output.h"
#include "common/text/tokenizer.h"
#include "nlohmann/json.hpp"

namespace retort::driver {
namespace {

constexpr size_t kMaxLineBytes = 64 << 20;
constexpr int64_t kMaxIds = 16 << 20;

Json SpansJson(const std::vector<text::ByteSpan>& spans) {
  Json list = Json::array();
  for (const text::ByteSpan& span : spans) list.push_back({span.begin, span.end});
  return list;
}

absl::StatusOr<std::vector<int64_t>> ParseIds(const std::vector<std::string>& words) {
  std::vector<int64_t> ids;
  for (const std::string& word : words) {
    for (const absl::string_view number :
         absl::StrSplit(word, absl::ByAnyChar(", \t\r\n[]"), absl::SkipEmpty())) {
      int64_t id = 0;
      if (!absl::SimpleAtoi(number, &id)) {
        return absl::InvalidArgumentError(absl::StrCat(
            "\"", Printable(number), "\" is no token id; expected integers, or - for stdin"));
      }
      if (ids.size() >= static_cast<size_t>(kMaxIds)) {
        return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxIds, " ids"));
      }
      ids.push_back(id);
    }
  }
  return ids;
}

// Hands the lines of `in`, each with its line end, to the trainer.
absl::Status AddLines(std::istream& in, const std::string& name, text::BpeTrainer* trainer) {
  std::string line;
  for (int64_t number = 1;; ++number) {
    const absl::StatusOr<bool> more = ReadLine(in, kMaxLineBytes, &line);
    RETORT_RETURN_IF_ERROR(WithContext(more.status(), absl::StrCat(name, ":", number)));
    if (!*more) return absl::OkStatus();
    RETORT_RETURN_IF_ERROR(WithContext(trainer->Add(line), absl::StrCat(name, ":", number)));
  }
}

absl::Status AddInput(const std::string& input, text::BpeTrainer* trainer) {
  if (input == "-") return AddLines(std::cin, "standard input", trainer);
  RETORT_RETURN_IF_ERROR(FileSize(input).status());  // Says why it cannot be read.
  std::ifstream in(input, std::ios::binary);
  if (!in.is_open()) return absl::NotFoundError(absl::StrCat(input, ": cannot be opened"));
  return AddLines(in, input, trainer);
}

}  // namespace

absl::Status TokenizeCommand(const TokenizeOptions& options, std::ostream& out) {
  RETORT_ASSIGN_OR_RETURN(const auto tokenizer, text::Tokenizer::Load(options.model));
  RETORT_ASSIGN_OR_RETURN(const std::string text,
                          TextArgument(options.text, options.replace_invalid_utf8));
  if (!options.json) {
    RETORT_ASSIGN_OR_RETURN(const std::vector<int64_t> ids,
                            tokenizer->Encode(text, options.special_tokens));
    return WriteOutput(absl::StrCat(absl::StrJoin(ids, " "), "\n"), out);
  }
  RETORT_ASSIGN_OR_RETURN(const text::Encoding encoding,
                          tokenizer->EncodeWithSpans(text, options.special_tokens));
  Json tokens = Json::array();
  for (const int64_t id : encoding.ids) {
    RETORT_ASSIGN_OR_RETURN(const absl::string_view bytes, tokenizer->TokenBytes(id));
    tokens.push_back(LossyUtf8(bytes));
  }
  const Json result = {{"ids", encoding.ids},
                       {"tokens", std::move(tokens)},
                       {"source_spans", SpansJson(encoding.source_spans)},
                       {"normalized_spans", SpansJson(encoding.normalized_spans)}};
  return WriteOutput(absl::StrCat(DumpJson(result), "\n"), out);
}

absl::Status DetokenizeCommand(const DetokenizeOptions& options, std::ostream& out) {
  RETORT_ASSIGN_OR_RETURN(const auto tokenizer, text::Tokenizer::Load(options.model));
  std::vector<std::string> words = options.ids;
  if (words.size() == 1) {
    RETORT_ASSIGN_OR_RETURN(words[0], TextArgument(words[0], /*replace_invalid_utf8=*/false));
  }
  RETORT_ASSIGN_OR_RETURN(const std::vector<int64_t> ids, ParseIds(words));
  RETORT_ASSIGN_OR_RETURN(const std::string text,
                          tokenizer->Decode(ids, options.skip_special_tokens));
  return WriteOutput(absl::StrCat(options.json ? DumpJson(Json{{"text", text}}) : text, "\n"), out);
}

absl::Status TrainTokenizerCommand(const TrainTokenizerOptions& options, std::ostream& out) {
  const std::string path = absl::StrCat(options.output, "/tokenizer.json");
  if (!options.overwrite && FileExists(path)) {
    return absl::AlreadyExistsError(
        absl::StrCat(path, " is there already; give another folder, or --overwrite"));
  }
  RETORT_ASSIGN_OR_RETURN(text::BpeTrainer trainer, text::BpeTrainer::Make(options.trainer));
  for (const std::string& input : options.inputs) {
    RETORT_RETURN_IF_ERROR(AddInput(input, &trainer));
  }
  const text::BpeTrainer::Result result = trainer.Train();
  RETORT_RETURN_IF_ERROR(MakeDirectories(options.output));
  RETORT_RETURN_IF_ERROR(WriteFileAtomically(path, result.tokenizer_json));
  out << path << ": " << result.vocab_size << " tokens from " << result.distinct_words
      << " distinct words";
  if (result.vocab_size < options.trainer.vocab_size) {
    out << "; " << options.trainer.vocab_size << " were wanted, but no pair occurs "
        << options.trainer.min_count << " times";
  }
  return WriteOutput("\n", out);
}

void TokenizerCommands::AddTo(CLI::App& app) {
  tokenize_ = app.add_subcommand("tokenize", "Token ids of a text");
  tokenize_->add_option("--model", tokenize_options_.model, "Folder with tokenizer.json")
      ->required();
  tokenize_->add_option("text", tokenize_options_.text, "Text, or - for standard input")
      ->required();
  tokenize_->add_flag("!--no-special-tokens", tokenize_options_.special_tokens,
                      "Leave out what the tokenizer adds around a text, such as BOS");
  tokenize_->add_flag("--json", tokenize_options_.json,
                      "Print ids, tokens and the bytes that each covers");
  tokenize_
      ->add_option("--invalid-utf8",
                   "refuse (default), or replace: bytes that are not UTF-8 become U+FFFD")
      ->check(CLI::IsMember({"refuse", "replace"}))
      ->each([this](const std::string& what) {
        tokenize_options_.replace_invalid_utf8 = what == "replace";
      });
  detokenize_ = app.add_subcommand("detokenize", "The text of token ids");
  detokenize_->add_option("--model", detokenize_options_.model, "Folder with tokenizer.json")
      ->required();
  detokenize_->add_option("ids", detokenize_options_.ids, "Token ids, or - for standard input")
      ->required();
  detokenize_->add_flag("--skip-special-tokens", detokenize_options_.skip_special_tokens,
                        "Leave out special tokens");
  detokenize_->add_flag("--json", detokenize_options_.json, "Print a JSON object");
  tokenizer_ = app.add_subcommand("tokenizer", "Make a tokenizer");
  tokenizer_->require_subcommand(1);
  CLI::App* const train =
      tokenizer_->add_subcommand("train", "Learn a byte-level BPE tokenizer.json from text files");
  train->add_option("--vocab-size", train_options_.trainer.vocab_size, "Tokens in all")->required();
  train->add_option("--output", train_options_.output, "Folder for tokenizer.json")->required();
  train->add_flag("--overwrite", train_options_.overwrite, "Replace a tokenizer.json in it");
  train
      ->add_option("--special-token", train_options_.trainer.special_tokens,
                   "A token that texts are searched for, such as <|endoftext|>; repeatable")
      ->allow_extra_args(false);
  train->add_option("--pattern", train_options_.trainer.pattern,
                    "How text is cut into words: gpt2 (default), llama3, qwen2 or gpt-oss");
  train->add_option("--min-count", train_options_.trainer.min_count,
                    "Merge only pairs that occur as often (default 2)");
  train->add_option("files", train_options_.inputs, "Text files, or - for standard input")
      ->required();
}

bool TokenizerCommands::Chosen() const {
  return tokenize_->parsed() || detokenize_->parsed() || tokenizer_->parsed();
}

absl::Status TokenizerCommands::Run(std::ostream& out) const {
  if (tokenize_->parsed()) return TokenizeCommand(tokenize_options_, out);
  if (detokenize_->parsed()) return DetokenizeCommand(detokenize_options_, out);
  return TrainTokenizerCommand(train_options_, out);
}

}  // namespace retort::driver
