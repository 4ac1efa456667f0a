#include "worker/tool_flags.h"

#include <string>
#include <vector>

#include "common/base/command_line.h"
#include "gmock/gmock.h"

namespace retort::worker {
namespace {

using testing::ElementsAre;

ToolFlags Parsed(const std::string& line) {
  CLI::App app("test");
  SetUpCommandLine("test", app);
  ToolFlags flags;
  AddToolCommands(app, flags);
  app.parse(line);  // Throws.
  EXPECT_TRUE(NamesTool(app)) << line;
  return flags;
}

constexpr char kModel[] = " --model m --adapter a --dtype bfloat16";
constexpr char kDraw[] =
    " --max-new-tokens 5 --temperature 0.5 --top-k 6 --top-p 0.7 --min-p 0.08 "
    "--repetition-penalty 1.9 --min-new-tokens 2 --ignore-eos --stop x --stop y --seed 11";

void ExpectModel(const ModelOptions& model) {
  EXPECT_EQ(model.folder, "m");
  EXPECT_EQ(model.adapter, "a");
  EXPECT_TRUE(model.bfloat16);
}

void ExpectDraw(const DrawOptions& draw) {
  EXPECT_EQ(draw.choice.max_new_tokens, 5);
  EXPECT_EQ(draw.choice.temperature, 0.5);
  EXPECT_EQ(draw.choice.top_k, 6);
  EXPECT_EQ(draw.choice.top_p, 0.7);
  EXPECT_EQ(draw.choice.min_p, 0.08);
  EXPECT_EQ(draw.choice.repetition_penalty, 1.9);
  EXPECT_EQ(draw.choice.min_new_tokens, 2);
  EXPECT_TRUE(draw.choice.ignore_eos);
  EXPECT_THAT(draw.stops, ElementsAre("x", "y"));
  EXPECT_EQ(draw.seed, 11u);
}

TEST(ToolFlagsTest, Generate_EveryFlag_IsItsField) {
  const ToolFlags flags = Parsed(std::string("generate --prompt p --n 3 --top-log-probs 4 --json "
                                             "--no-special-tokens --invalid-utf8 replace "
                                             "--threads 2") +
                                 kModel + kDraw);
  ExpectModel(flags.generate.model);
  ExpectDraw(flags.generate.draw);
  EXPECT_EQ(flags.generate.prompt, "p");
  EXPECT_EQ(flags.generate.samples, 3);
  EXPECT_EQ(flags.generate.top_log_probs, 4);
  EXPECT_TRUE(flags.generate.json);
  EXPECT_FALSE(flags.generate.text.special_tokens);
  EXPECT_TRUE(flags.generate.text.replace_invalid_utf8);
  EXPECT_EQ(flags.threads, 2);
}

TEST(ToolFlagsTest, Generate_NoFlags_NothingIsAskedFor) {
  const ToolFlags flags = Parsed("generate --model m --prompt p");
  const SamplingChoice& choice = flags.generate.draw.choice;
  EXPECT_FALSE(choice.max_new_tokens || choice.min_new_tokens || choice.temperature ||
               choice.top_k || choice.top_p || choice.min_p || choice.repetition_penalty);
  EXPECT_FALSE(choice.ignore_eos);
  EXPECT_TRUE(flags.generate.text.special_tokens);
  EXPECT_FALSE(flags.generate.text.replace_invalid_utf8);
  EXPECT_FALSE(flags.generate.model.bfloat16);
  EXPECT_EQ(flags.generate.samples, 1);
}

TEST(ToolFlagsTest, Score_EveryFlag_IsItsField) {
  const ToolFlags flags =
      Parsed(std::string("score --prompt p --completion c --temperature 0.5 --top-log-probs 4 "
                         "--json --no-special-tokens --invalid-utf8 replace") +
             kModel);
  ExpectModel(flags.score.model);
  EXPECT_EQ(flags.score.prompt, "p");
  EXPECT_EQ(flags.score.completion, "c");
  EXPECT_EQ(flags.score.temperature, 0.5);
  EXPECT_EQ(flags.score.top_log_probs, 4);
  EXPECT_TRUE(flags.score.json);
  EXPECT_FALSE(flags.score.text.special_tokens);
  EXPECT_TRUE(flags.score.text.replace_invalid_utf8);
}

TEST(ToolFlagsTest, Chat_EveryFlag_IsItsField) {
  const ToolFlags flags =
      Parsed(std::string("chat --system s --invalid-utf8 replace") + kModel + kDraw);
  ExpectModel(flags.chat.model);
  ExpectDraw(flags.chat.draw);
  EXPECT_EQ(flags.chat.system, "s");
  EXPECT_TRUE(flags.chat.replace_invalid_utf8);
}

TEST(ToolFlagsTest, Serve_EveryFlag_IsItsField) {
  const ServeOptions serve =
      Parsed(std::string("serve --listen 127.0.0.1:1 --token-file t --tls-cert c --tls-key k "
                         "--tls-ca ca --max-batch 2 --max-wait-ms 3 --max-waiting 4 "
                         "--cache-tokens 5") +
             kModel)
          .serve;
  ExpectModel(serve.model);
  EXPECT_EQ(serve.listen, "127.0.0.1:1");
  EXPECT_EQ(serve.token_file, "t");
  EXPECT_EQ(serve.tls.certificate_file, "c");
  EXPECT_EQ(serve.tls.key_file, "k");
  EXPECT_EQ(serve.tls.ca_file, "ca");
  EXPECT_EQ(serve.max_batch, 2);
  EXPECT_EQ(serve.max_wait_ms, 3);
  EXPECT_EQ(serve.max_waiting, 4);
  EXPECT_EQ(serve.cache_tokens, 5);
}

TEST(ToolFlagsTest, ModelCommands_EveryFlag_IsItsField) {
  const InitOptions init =
      Parsed("model init --config c --output o --seed 7 --std 0.5 --dtype float16").init;
  EXPECT_EQ(init.config, "c");
  EXPECT_EQ(init.output.folder, "o");
  EXPECT_EQ(init.seed, 7u);
  EXPECT_EQ(init.std, 0.5);
  EXPECT_EQ(init.output.dtype, "float16");
  EXPECT_EQ(init.output.style, layout::ConfigStyle::kBoth);
  const ConvertOptions convert =
      Parsed("model convert i o --dtype bfloat16 --shard-size 5GB --config-style v4").convert;
  EXPECT_EQ(convert.model, "i");
  EXPECT_EQ(convert.output.folder, "o");
  EXPECT_EQ(convert.output.dtype, "bfloat16");
  EXPECT_EQ(convert.output.shard_bytes, 5'000'000'000);
  EXPECT_EQ(convert.output.style, layout::ConfigStyle::kTransformers4);
  const MergeOptions merge =
      Parsed("model merge-lora --model m --adapter a --output o --config-style v5").merge;
  EXPECT_EQ(merge.model, "m");
  EXPECT_EQ(merge.adapter, "a");
  EXPECT_EQ(merge.output.folder, "o");
  EXPECT_EQ(merge.output.style, layout::ConfigStyle::kTransformers5);
}

}  // namespace
}  // namespace retort::worker
