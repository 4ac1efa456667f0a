#include "worker/tool_flags.h"

#include <unistd.h>

#include <iostream>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rpc/build_version.h"
#include "common/tensor/aten.h"
#include "common/tensor/torch_process.h"

namespace retort::worker {
namespace {

void AddThreads(CLI::App& command, ToolFlags& flags) {
  command
      .add_option("--threads", flags.threads,
                  "CPU threads (default: one for each core, fewer with OMP_NUM_THREADS)")
      ->check(CLI::Range(1, 1024));
}

void AddModel(CLI::App& command, ModelOptions& options) {
  command.add_option("--model", options.folder, "Hugging Face folder with weights and tokenizer")
      ->required();
  command.add_option("--adapter", options.adapter, "PEFT folder with a LoRA adapter for it");
  command
      .add_option("--dtype",
                  "How weights are held: float32 (default), or bfloat16 in half the memory; they "
                  "are computed with in float32")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->each([&options](const std::string& dtype) { options.bfloat16 = dtype == "bfloat16"; });
}

void AddInvalidUtf8(CLI::App& command, bool* replace) {
  command
      .add_option("--invalid-utf8",
                  "refuse (default), or replace: bytes that are not UTF-8 become U+FFFD")
      ->check(CLI::IsMember({"refuse", "replace"}))
      ->each([replace](const std::string& what) { *replace = what == "replace"; });
}

void AddText(CLI::App& command, TextOptions& options) {
  command.add_flag("!--no-special-tokens", options.special_tokens,
                   "Leave out what the tokenizer adds around a text, such as BOS");
  AddInvalidUtf8(command, &options.replace_invalid_utf8);
}

void AddTopLogProbs(CLI::App& command, int64_t* top) {
  command
      .add_option("--top-log-probs", *top, "Show the likeliest so many tokens at every position")
      ->check(CLI::Range(int64_t{0}, kMaxTopLogProbs));
}

void AddDraw(CLI::App& command, DrawOptions& options, const char* most_tokens) {
  SamplingChoice& choice = options.choice;
  command.footer("What the flags leave open is taken from the folder's generation_config.json.");
  command.add_option("--max-new-tokens", choice.max_new_tokens, most_tokens)
      ->check(CLI::Range(1, 1 << 24));
  command.add_option("--temperature", choice.temperature, "Divides the logits; 0 is greedy");
  command.add_option("--top-k", choice.top_k, "Sample among the k likeliest tokens; 0 is all");
  command.add_option("--top-p", choice.top_p,
                     "Sample among the likeliest tokens that hold this probability");
  command.add_option("--min-p", choice.min_p,
                     "Drop tokens less likely than this times the likeliest");
  command.add_option("--repetition-penalty", choice.repetition_penalty,
                     "Above 1: tokens that are there already become less likely");
  command.add_option("--min-new-tokens", choice.min_new_tokens, "No EOS before so many tokens");
  command.add_flag("--ignore-eos", choice.ignore_eos, "Go on after EOS");
  command.add_option("--stop", options.stops, "End before this text; repeatable")
      ->allow_extra_args(false);
  command.add_option("--seed", options.seed, "The same seed gives the same text (default 1)");
}

void AddGenerate(CLI::App& app, ToolFlags& flags) {
  CLI::App& command = *app.add_subcommand("generate", "Stream a model's completion of a prompt");
  GenerateOptions& options = flags.generate;
  AddModel(command, options.model);
  command.add_option("--prompt", options.prompt, "Text to complete, or - for standard input")
      ->required();
  AddText(command, options.text);
  AddDraw(command, options.draw, "Most tokens to make (default 128)");
  command.add_option("--n", options.samples, "How many completions (default 1)")
      ->check(CLI::Range(int64_t{1}, kMaxSamples));
  AddTopLogProbs(command, &options.top_log_probs);
  command.add_flag("--json", options.json, "Print ids, tokens, log-probs and texts as JSON");
  AddThreads(command, flags);
}

void AddScore(CLI::App& app, ToolFlags& flags) {
  CLI::App& command = *app.add_subcommand("score", "Log-probability of each token of a completion");
  ScoreOptions& options = flags.score;
  AddModel(command, options.model);
  command.add_option("--prompt", options.prompt, "Text before it, or - for standard input");
  command.add_option("--completion", options.completion, "Text to score, or - for standard input")
      ->required();
  AddText(command, options.text);
  command.add_option("--temperature", options.temperature, "Divides the logits");
  AddTopLogProbs(command, &options.top_log_probs);
  command.add_flag("--json", options.json, "Print ids, tokens and log-probs as JSON");
  AddThreads(command, flags);
}

void AddChat(CLI::App& app, ToolFlags& flags) {
  CLI::App& command = *app.add_subcommand(
      "chat",
      "Talk to a model, a line at a time; /reset forgets, /exit ends. With --render: print "
      "the prompt of a conversation (retort chat --render --help)");
  ChatOptions& options = flags.chat;
  AddModel(command, options.model);
  command.add_option("--system", options.system, "System message");
  command.add_option("--template-var", options.template_variables, text::kTemplateVariableHelp)
      ->type_name("NAME=JSON")
      ->allow_extra_args(false);
  AddInvalidUtf8(command, &options.replace_invalid_utf8);
  AddDraw(command, options.draw, "Most tokens of an answer (default 1024)");
  AddThreads(command, flags);
}

void AddOutput(CLI::App& command, OutputOptions& options, const char* dtype) {
  command.add_option("--dtype", options.dtype, dtype)
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  command
      .add_option(
          "--shard-size", options.shard_bytes,
          "Largest weight file, such as 5GB (default: one file); a larger tensor has its own")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->check([](const std::string& bytes) {
        return bytes == "0" ? "is 0; expected a size such as 5GB" : "";
      });
  command
      .add_option("--config-style", "v4 or v5: keys of that Transformers only (default: of both)")
      ->check(CLI::IsMember({"v4", "v5"}))
      ->each([&options](const std::string& style) {
        options.style = style == "v4" ? layout::ConfigStyle::kTransformers4
                                      : layout::ConfigStyle::kTransformers5;
      });
}

void AddModelCommands(CLI::App& app, ToolFlags& flags) {
  CLI::App& model = *app.add_subcommand("model", "Make a model folder");
  model.require_subcommand(1);
  CLI::App& init = *model.add_subcommand("init", "A model with random weights");
  init.add_option("--config", flags.init.config, "Folder with config.json and tokenizer")
      ->required();
  init.add_option("--output", flags.init.output.folder, "New folder")->required();
  init.add_option("--seed", flags.init.seed, "The same seed gives the same weights (default 1)");
  init.add_option("--std", flags.init.std,
                  "Standard deviation of every weight matrix (default 0.02)");
  AddOutput(init, flags.init.output, "float32 (default), bfloat16 or float16");
  AddThreads(init, flags);
  CLI::App& convert =
      *model.add_subcommand("convert", "The same model in other files, dtype or config style");
  convert.add_option("input", flags.convert.model, "Model folder")->required();
  convert.add_option("output", flags.convert.output.folder, "New folder")->required();
  AddOutput(convert, flags.convert.output,
            "float32, bfloat16 or float16 (default: that of each tensor)");
  AddThreads(convert, flags);
  CLI::App& merge = *model.add_subcommand("merge-lora", "A model with its LoRA adapter in it");
  merge.add_option("--model", flags.merge.model, "Model folder")->required();
  merge.add_option("--adapter", flags.merge.adapter, "PEFT folder")->required();
  merge.add_option("--output", flags.merge.output.folder, "New folder")->required();
  AddOutput(merge, flags.merge.output,
            "float32, bfloat16 or float16 (default: that of each tensor of the model)");
  AddThreads(merge, flags);
}

void AddServe(CLI::App& app, ToolFlags& flags) {
  CLI::App& command = *app.add_subcommand("serve", "Serve a model: Generate and Score over gRPC");
  ServeOptions& options = flags.serve;
  AddModel(command, options.model);
  command.add_option("--listen", options.listen, "HOST:PORT (default 127.0.0.1:8470)");
  command
      .add_option("--token-file", options.token_file,
                  "Access token that clients must send; made with mode 0600 if it is not there")
      ->required();
  command.add_option("--tls-cert", options.tls.certificate_file,
                     "PEM certificate; without TLS only loopback is allowed");
  command.add_option("--tls-key", options.tls.key_file, "Its PEM key");
  command.add_option("--tls-ca", options.tls.ca_file,
                     "Clients must show a certificate that it signed");
  command.add_option("--max-batch", options.max_batch, "Samples decoded at once (default 64)")
      ->check(CLI::Range(1, 65536));
  command
      .add_option("--max-wait-ms", options.max_wait_ms,
                  "How long an idle server lets requests gather (default 2)")
      ->check(CLI::Range(0, 10000));
  command
      .add_option("--max-waiting", options.max_waiting,
                  "Requests that may wait; more are refused (default 256)")
      ->check(CLI::Range(1, 1000000));
  command
      .add_option("--cache-tokens", options.cache_tokens,
                  "Positions of the KV cache (default max-batch x context, 4096 at most)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32));
  AddThreads(command, flags);
}

void AddDevices(CLI::App& app, ToolFlags& flags) {
  CLI::App& command =
      *app.add_subcommand("devices", "List the GPUs that workers of this host can compute on");
  command.add_flag("--json", flags.devices.json, "Print a JSON object");
}

absl::Status RunChat(ChatOptions options) {
  options.interactive = isatty(STDIN_FILENO) != 0;
  return ChatCommand(options, absl::ToCivilSecond(absl::Now(), absl::LocalTimeZone()), std::cin,
                     std::cout, std::cerr);
}

absl::Status RunToTheEnd(const CLI::App& app, const ToolFlags& flags) {
  if (app.got_subcommand("generate")) return GenerateCommand(flags.generate, std::cout);
  if (app.got_subcommand("score")) return ScoreCommand(flags.score, std::cout);
  if (app.got_subcommand("chat")) return RunChat(flags.chat);
  const CLI::App& model = *app.get_subcommand("model");
  if (model.got_subcommand("init")) return InitCommand(flags.init, std::cout, std::cerr);
  if (model.got_subcommand("convert")) return ConvertCommand(flags.convert, std::cout, std::cerr);
  return MergeCommand(flags.merge, std::cout, std::cerr);
}

}  // namespace

void AddToolCommands(CLI::App& app, ToolFlags& flags) {
  app.require_subcommand(0, 1);
  AddGenerate(app, flags);
  AddScore(app, flags);
  AddChat(app, flags);
  AddModelCommands(app, flags);
  AddServe(app, flags);
  AddDevices(app, flags);
}

bool NamesTool(const CLI::App& app) { return !app.get_subcommands().empty(); }

absl::StatusOr<int> RunTool(const CLI::App& app, const ToolFlags& flags) {
  if (app.got_subcommand("devices")) {
    RETORT_RETURN_IF_ERROR(
        DevicesCommand(flags.devices, ExecutableDirectory(), rpc::BuildVersion(), std::cout));
    return 0;
  }
  tensor::ConfigureTorchProcess(flags.threads > 0 ? flags.threads : at::get_num_threads());
  if (app.got_subcommand("serve")) {
    RETORT_ASSIGN_OR_RETURN(const int signal, ServeCommand(flags.serve, std::cout));
    return 128 + signal;
  }
  RETORT_RETURN_IF_ERROR(RunToTheEnd(app, flags));
  return 0;
}

}  // namespace retort::worker
