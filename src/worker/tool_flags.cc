#include "worker/tool_flags.h"

#include <iostream>

#include "common/tensor/torch_process.h"

namespace retort::worker {
namespace {

void AddThreads(CLI::App& command, ToolFlags& flags) {
  command.add_option("--threads", flags.threads, "CPU threads")->check(CLI::Range(1, 1024));
}

void AddGenerate(CLI::App& app, ToolFlags& flags) {
  CLI::App& command = *app.add_subcommand("generate", "Stream a model's completion of a prompt");
  GenerateOptions& options = flags.generate;
  command.add_option("--model", options.model, "Hugging Face folder with weights and tokenizer")
      ->required();
  command.add_option("--prompt", options.prompt, "Text to complete")->required();
  command
      .add_option("--max-new-tokens", options.max_new_tokens, "Most tokens to make (default 128)")
      ->check(CLI::Range(1, 1048576));
  command.add_option("--temperature", options.temperature, "Sampling temperature");
  command.add_option("--top-k", options.top_k, "Sample among the k likeliest tokens; 0 is all");
  command.add_option("--top-p", options.top_p,
                     "Sample among the likeliest tokens that hold this probability");
  command.add_option("--seed", options.seed, "The same seed gives the same text");
  command.add_flag("--greedy", options.greedy, "Always take the likeliest token");
  command.add_flag("--add-bos", options.add_bos, "Put the model's BOS token before the prompt");
  AddThreads(command, flags);
}

void AddScore(CLI::App& app, ToolFlags& flags) {
  CLI::App& command = *app.add_subcommand("score", "Log-probability of each token of a completion");
  ScoreOptions& options = flags.score;
  command.add_option("--model", options.model, "Hugging Face folder with weights and tokenizer")
      ->required();
  command.add_option("--prompt", options.prompt, "Text before the completion");
  command.add_option("--completion", options.completion, "Text to score")->required();
  command.add_option("--temperature", options.temperature, "Divides the logits");
  command.add_flag("--add-bos", options.add_bos, "Put the model's BOS token before the prompt");
  AddThreads(command, flags);
}

}  // namespace

void AddToolCommands(CLI::App& app, ToolFlags& flags) {
  app.require_subcommand(0, 1);
  AddGenerate(app, flags);
  AddScore(app, flags);
}

bool NamesTool(const CLI::App& app) { return !app.get_subcommands().empty(); }

absl::Status RunTool(const CLI::App& app, const ToolFlags& flags) {
  tensor::ConfigureTorchProcess(flags.threads);
  return app.got_subcommand("generate") ? GenerateCommand(flags.generate, std::cout)
                                        : ScoreCommand(flags.score, std::cout);
}

}  // namespace retort::worker
