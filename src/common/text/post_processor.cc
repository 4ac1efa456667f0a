#include "common/text/post_processor.h"

#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

constexpr size_t kMaxTemplateIds = 64;

// Appends the ids that the template's special token `name` stands for.
absl::Status AppendSpecial(const JsonObject& spec, const std::string& name,
                           std::vector<int64_t>* ids) {
  RETORT_ASSIGN_OR_RETURN(const JsonObject tokens, spec.Object("special_tokens"));
  RETORT_ASSIGN_OR_RETURN(const JsonObject token, tokens.Object(name));
  const nlohmann::json* list = token.Find("ids");
  if (list == nullptr || !list->is_array() || list->size() > kMaxTemplateIds) {
    return token.Error("ids", "is not a short list");
  }
  for (const nlohmann::json& id : *list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMaxTokenId)) {
      return token.Error("ids", "holds something that is not a token id");
    }
    ids->push_back(id.get<int64_t>());
  }
  return absl::OkStatus();
}

absl::Status ReadTemplate(const JsonObject& spec, PostProcessor* out) {
  RETORT_ASSIGN_OR_RETURN(const std::vector<JsonObject> parts, spec.Objects("single"));
  if (parts.size() > kMaxSequenceParts) return spec.Error("single", "has too many parts");
  bool text_seen = false;
  for (const JsonObject& part : parts) {
    if (part.Find("SpecialToken") != nullptr) {
      RETORT_ASSIGN_OR_RETURN(const JsonObject special, part.Object("SpecialToken"));
      RETORT_ASSIGN_OR_RETURN(const std::string name, special.String("id"));
      RETORT_RETURN_IF_ERROR(AppendSpecial(spec, name, text_seen ? &out->after : &out->before));
      continue;
    }
    RETORT_ASSIGN_OR_RETURN(const JsonObject sequence, part.Object("Sequence"));
    RETORT_ASSIGN_OR_RETURN(const std::string id, sequence.String("id"));
    if (id != "A" || text_seen) return sequence.Error("id", "is not the one \"A\" of a template");
    text_seen = true;
  }
  if (!text_seen) return spec.Error("single", "has no Sequence");
  return absl::OkStatus();
}

absl::Status Read(const JsonObject& spec, int depth, PostProcessor* out) {
  RETORT_ASSIGN_OR_RETURN(const absl::string_view type, spec.Type());
  if (type == "ByteLevel") return absl::OkStatus();
  if (type == "TemplateProcessing") {
    if (!out->before.empty() || !out->after.empty()) {
      return spec.Unknown("type", "a second TemplateProcessing", "one");
    }
    return ReadTemplate(spec, out);
  }
  if (type != "Sequence" || depth > 0) {
    return spec.Unknown("type", type, "TemplateProcessing, ByteLevel and one Sequence of them");
  }
  RETORT_ASSIGN_OR_RETURN(const std::vector<JsonObject> parts, spec.Objects("processors"));
  for (const JsonObject& part : parts) RETORT_RETURN_IF_ERROR(Read(part, depth + 1, out));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PostProcessor> PostProcessor::Make(const JsonObject& tokenizer) {
  PostProcessor out;
  if (tokenizer.Find("post_processor") == nullptr) return out;
  RETORT_ASSIGN_OR_RETURN(const JsonObject spec, tokenizer.Object("post_processor"));
  RETORT_RETURN_IF_ERROR(Read(spec, 0, &out));
  return out;
}

}  // namespace retort::text
