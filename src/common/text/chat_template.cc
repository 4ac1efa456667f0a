#include "common/text/chat_template.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

constexpr int64_t kMaxConfigBytes = 16 << 20;
constexpr char kConfigName[] = "tokenizer_config.json";
constexpr const char* kTokenNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};

absl::StatusOr<std::optional<std::string>> ReadIfThere(const std::string& path) {
  if (!FileExists(path)) return std::nullopt;
  RETORT_ASSIGN_OR_RETURN(std::string text, ReadFile(path, kMaxConfigBytes));
  return text;
}

absl::StatusOr<Json> ParseObject(const std::optional<std::string>& text, const std::string& path) {
  if (!text.has_value()) return Json::object();
  RETORT_ASSIGN_OR_RETURN(Json object, ParseJson(*text, path));
  if (!object.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected an object"));
  }
  return object;
}

// The content of a special token; nullopt when it is null.
absl::StatusOr<std::optional<std::string>> TokenContent(const Json& token,
                                                        const std::string& where) {
  if (token.is_null()) return std::nullopt;
  if (token.is_string()) return token.get<std::string>();
  if (token.is_object() && token.contains("content") && token["content"].is_string()) {
    return token["content"].get<std::string>();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(where, " is neither a string nor an object with a string \"content\""));
}

// tokenizer_config.json decides where it has the key, null included.
absl::StatusOr<std::vector<jinja::Variable>> SpecialTokens(const Json& config, const Json& map,
                                                           absl::string_view source) {
  std::vector<jinja::Variable> tokens;
  for (const char* name : kTokenNames) {
    const bool in_config = config.contains(name);
    if (!in_config && !map.contains(name)) continue;
    const std::string where =
        absl::StrCat(source, "/", in_config ? kConfigName : "special_tokens_map.json", ": ", name);
    RETORT_ASSIGN_OR_RETURN(const std::optional<std::string> content,
                            TokenContent(in_config ? config[name] : map[name], where));
    if (content.has_value()) tokens.push_back({name, DumpJson(Json(*content)), std::nullopt});
  }
  return tokens;
}

struct Sources {
  std::optional<std::string> plain;
  std::optional<std::string> tool_use;
  std::string where;  // The file and field, for errors.
};

// One {name, template} of a list.
absl::Status AddNamed(const Json& entry, size_t index, Sources* sources) {
  const auto is_text = [&](const char* key) {
    return entry.is_object() && entry.contains(key) && entry[key].is_string();
  };
  if (!is_text("name") || !is_text("template")) {
    return absl::InvalidArgumentError(absl::StrCat(
        sources->where, "[", index, "] is not an object with strings \"name\" and \"template\""));
  }
  const std::string name = entry["name"].get<std::string>();
  if (name == "default") sources->plain = entry["template"].get<std::string>();
  if (name == "tool_use") sources->tool_use = entry["template"].get<std::string>();
  return absl::OkStatus();
}

absl::StatusOr<Sources> FindSources(const ChatTemplateFiles& files, const Json& config,
                                    absl::string_view source) {
  if (files.chat_template_jinja.has_value()) {
    return Sources{files.chat_template_jinja, files.tool_use_jinja,
                   absl::StrCat(source, "/chat_template.jinja")};
  }
  Sources sources;
  sources.where = absl::StrCat(source, "/", kConfigName, ": chat_template");
  const auto it = config.find("chat_template");
  if (it == config.end() || it->is_null()) {
    return absl::NotFoundError(absl::StrCat(source,
                                            ": neither chat_template.jinja nor chat_template in ",
                                            kConfigName, "; this model has no chat format"));
  }
  if (it->is_string()) {
    sources.plain = it->get<std::string>();
    return sources;
  }
  if (!it->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(sources.where, " is neither a string nor a list of {name, template}"));
  }
  for (size_t i = 0; i < it->size(); ++i) {
    RETORT_RETURN_IF_ERROR(AddNamed((*it)[i], i, &sources));
  }
  if (!sources.plain.has_value()) {
    return absl::NotFoundError(
        absl::StrCat(sources.where, " is a list without a template named \"default\""));
  }
  return sources;
}

absl::Status CheckObjects(const std::string& text, absl::string_view name) {
  RETORT_ASSIGN_OR_RETURN(const Json array, ParseJson(text, name));
  if (!array.is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected a JSON array of objects"));
  }
  for (size_t i = 0; i < array.size(); ++i) {
    if (array[i].is_object()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(name, "[", i, "] is ", array[i].type_name(), "; expected an object"));
  }
  return absl::OkStatus();
}

bool HasTools(const ChatInput& input) { return !input.tools.empty() && input.tools != "null"; }

}  // namespace

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ParseTemplateVariables(
    const std::vector<std::string>& words) {
  std::vector<std::pair<std::string, std::string>> variables;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const bool named = equals != word.npos && !name.empty() && !absl::ascii_isdigit(name[0]) &&
                       std::all_of(name.begin(), name.end(), [](unsigned char c) {
                         return absl::ascii_isalnum(c) || c == '_';
                       });
    if (!named) {
      return absl::InvalidArgumentError(
          absl::StrCat("template variable \"", Printable(word, 100),
                       "\" is not NAME=JSON, such as enable_thinking=false"));
    }
    std::string json = word.substr(equals + 1);
    if (!ParseJson(json, name).ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("template variable ", name, " is \"", Printable(json, 100),
                       "\", which is not JSON; a text stands in quotes: '", name, "=\"...\"'"));
    }
    variables.emplace_back(name, std::move(json));
  }
  return variables;
}

absl::StatusOr<std::unique_ptr<const ChatTemplate>> ChatTemplate::Load(const std::string& folder) {
  ChatTemplateFiles files;
  RETORT_ASSIGN_OR_RETURN(files.chat_template_jinja, ReadIfThere(folder + "/chat_template.jinja"));
  RETORT_ASSIGN_OR_RETURN(files.tool_use_jinja,
                          ReadIfThere(folder + "/additional_chat_templates/tool_use.jinja"));
  RETORT_ASSIGN_OR_RETURN(files.tokenizer_config, ReadIfThere(folder + "/" + kConfigName));
  RETORT_ASSIGN_OR_RETURN(files.special_tokens_map,
                          ReadIfThere(folder + "/special_tokens_map.json"));
  return Parse(files, folder);
}

absl::StatusOr<std::unique_ptr<const ChatTemplate>> ChatTemplate::Parse(
    const ChatTemplateFiles& files, absl::string_view source, const jinja::Limits& limits) {
  RETORT_ASSIGN_OR_RETURN(const Json config, ParseObject(files.tokenizer_config,
                                                         absl::StrCat(source, "/", kConfigName)));
  RETORT_ASSIGN_OR_RETURN(
      const Json map,
      ParseObject(files.special_tokens_map, absl::StrCat(source, "/special_tokens_map.json")));
  RETORT_ASSIGN_OR_RETURN(const Sources sources, FindSources(files, config, source));
  auto chat = std::unique_ptr<ChatTemplate>(new ChatTemplate);
  RETORT_ASSIGN_OR_RETURN(chat->special_tokens_, SpecialTokens(config, map, source));
  RETORT_ASSIGN_OR_RETURN(chat->default_,
                          jinja::Template::Parse(*sources.plain, sources.where, limits));
  if (sources.tool_use.has_value()) {
    RETORT_ASSIGN_OR_RETURN(
        chat->tool_use_,
        jinja::Template::Parse(*sources.tool_use, sources.where + " tool_use", limits));
  }
  return chat;
}

absl::StatusOr<ChatText> ChatTemplate::Render(const ChatInput& input) const {
  RETORT_RETURN_IF_ERROR(CheckObjects(input.messages, "messages"));
  if (HasTools(input)) RETORT_RETURN_IF_ERROR(CheckObjects(input.tools, "tools"));
  return RenderFirst(input, std::numeric_limits<size_t>::max(), input.add_generation_prompt);
}

absl::StatusOr<ChatText> ChatTemplate::RenderFirst(const ChatInput& input, size_t messages,
                                                   bool add_generation_prompt) const {
  std::vector<jinja::Variable> variables = {
      {"messages", input.messages, messages, /*alias_reasoning=*/true},
      {"tools", HasTools(input) ? input.tools : "null", std::nullopt},
      {"documents", "null", std::nullopt},
      {"add_generation_prompt", add_generation_prompt ? "true" : "false", std::nullopt},
  };
  const auto find = [&](const std::string& name) {
    return std::find_if(variables.begin(), variables.end(),
                        [&](const jinja::Variable& variable) { return variable.name == name; });
  };
  for (const auto& [name, json] : input.variables) {
    if (find(name) != variables.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("variable \"", Printable(name), "\" of the template is given twice"));
    }
    variables.push_back({name, json, std::nullopt});
  }
  for (const jinja::Variable& token : special_tokens_) {
    if (find(token.name) == variables.end()) variables.push_back(token);
  }
  const jinja::Template& chosen = HasTools(input) && tool_use_ != nullptr ? *tool_use_ : *default_;
  RETORT_ASSIGN_OR_RETURN(jinja::Rendering rendering, chosen.Render(variables, input.now));
  return ChatText{std::move(rendering.text), std::move(rendering.generation)};
}

}  // namespace retort::text
