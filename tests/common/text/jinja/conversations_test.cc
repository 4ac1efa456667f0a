// Random conversations against what Jinja2 made of them: conversations.jsonl, which
// make_conversations.py writes. Templates that belong to a model are taken from its folder in the
// optional data; RETORT_CONVERSATIONS names another file of such lines.
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <string>

#include "common/base/json.h"
#include "common/text/chat_template.h"
#include "common/text/jinja/case_file.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort::text::jinja {
namespace {

std::string ConversationsFile() {
  const char* file = std::getenv("RETORT_CONVERSATIONS");
  return file == nullptr ? TestFile("conversations.jsonl") : file;
}

class Templates {
 public:
  void Define(const Json& line) {
    ChatTemplateFiles files;
    files.chat_template_jinja = line["source"].get<std::string>();
    files.tokenizer_config = DumpJson(line["config"]);
    Add(line["define"].get<std::string>(), ChatTemplate::Parse(files, "defined"));
  }

  // nullptr when the model's folder is not there.
  const ChatTemplate* Get(const std::string& name) {
    if (!loaded_.contains(name)) {
      const std::string folder = SharedDir() + "/data/" + name;
      if (!FileExists(folder + "/tokenizer_config.json")) return nullptr;
      Add(name, ChatTemplate::Load(folder));
    }
    return loaded_[name].get();
  }

 private:
  void Add(const std::string& name, absl::StatusOr<std::unique_ptr<const ChatTemplate>> loaded) {
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    loaded_[name] = *std::move(loaded);
  }

  std::map<std::string, std::unique_ptr<const ChatTemplate>> loaded_;
};

ChatInput InputOf(const Json& line) {
  ChatInput input;
  input.messages = line["messages"].get<std::string>();
  if (line.contains("tools")) input.tools = line["tools"].get<std::string>();
  input.add_generation_prompt = line["add_generation_prompt"].get<bool>();
  if (line.contains("enable_thinking")) {
    input.variables.emplace_back("enable_thinking", DumpJson(line["enable_thinking"]));
  }
  input.now = absl::CivilSecond(2024, 7, 26, 13, 5, 9);
  return input;
}

TEST(ConversationsTest, Render_RandomConversations_AsJinjaDoes) {
  Templates templates;
  int checked = 0, skipped = 0;
  for (const Json& line : ReadLines(ConversationsFile())) {
    if (line.contains("define")) {
      templates.Define(line);
      continue;
    }
    const ChatTemplate* const chat_template = templates.Get(line["template"].get<std::string>());
    if (chat_template == nullptr) {
      ++skipped;
      continue;
    }
    ++checked;
    const auto got = chat_template->Render(InputOf(line));
    if (line.contains("refused")) {
      EXPECT_FALSE(got.ok()) << line << "\n" << got->text;
    } else if (!got.ok()) {
      ADD_FAILURE() << line << "\n" << got.status();
    } else {
      EXPECT_EQ(got->text, line["text"].get<std::string>()) << line;
    }
  }
  EXPECT_GE(checked, 40);
  std::cout << checked << " conversations, " << skipped << " skipped without their template\n";
}

}  // namespace
}  // namespace retort::text::jinja
