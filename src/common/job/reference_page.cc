#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/job/applicability.h"
#include "common/job/job_file.h"
#include "common/job/schema.h"

namespace retort::job {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr char kIntroduction[] = R"(# The job file

Generated from `proto/retort/v1/job.proto`; a test keeps it equal.

A job is one YAML file. A method reads the sections that it needs and refuses those that it would ignore; unknown and
duplicate keys are refused with file, line and column. A key that is left out gets its default. Paths are relative to
the job file. A list of strings may be written as one string. Anchors, aliases and tags are not supported.
`--set a.b.c=value` on the command line replaces one value (an entry of a list by its number:
`--set rewards.0.weight=2`) and meets the same checks. `retort plan FILE` shows what a job would run.

"required" keys have no default. "null" leaves an optional key unset.
)";

std::string Escaped(absl::string_view text) { return absl::StrReplaceAll(text, {{"|", "\\|"}}); }

std::string DefaultText(const FieldDescriptor* field) {
  const v1::FieldDoc& doc = DocOf(field);
  if (doc.required()) return "required";
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    return field->is_repeated() ? "`[]`" : "its keys' defaults";
  }
  if (doc.has_default_()) return absl::StrCat("`", doc.default_(), "`");
  return field->has_optional_keyword() ? "`null`" : "";
}

std::string TypeText(const FieldDescriptor* field) {
  return absl::StrCat(TypeName(field), field->has_optional_keyword() ? " or null" : "");
}

void AppendRow(const std::string& path, const FieldDescriptor* field, std::string* page) {
  absl::StrAppend(page, "| `", path, field->name(), "` | ", Escaped(TypeText(field)), " | ",
                  DefaultText(field), " | ", BoundsText(field), " | ", DocOf(field).unit(), " | ",
                  Escaped(DocOf(field).doc()), " |\n");
}

void AppendHeading(const std::string& title, const std::string& doc, std::string* page) {
  absl::StrAppend(page, "\n## ", title, "\n\n", doc, doc.empty() ? "" : "\n\n",
                  "| key | type | default | bounds | unit | meaning |\n",
                  "|---|---|---|---|---|---|\n");
}

void AppendSections(const Descriptor* message, const std::string& path, std::string* page);

// The keys that stand beside `type` when it names `member`.
void AppendMember(const FieldDescriptor* member, const std::string& path, std::string* page) {
  AppendHeading(absl::StrCat("`", path, "` with `type: ", member->name(), "`"), DocOf(member).doc(),
                page);
  for (const FieldDescriptor* field : PlainFields(member->message_type())) {
    AppendRow("", field, page);
  }
  for (const FieldDescriptor* field : PlainFields(member->containing_type())) {
    AppendRow("", field, page);
  }
}

void AppendSection(const FieldDescriptor* section, const std::string& path, std::string* page) {
  if (const auto* oneof = InlineOneof(section->message_type())) {
    for (int i = 0; i < oneof->field_count(); ++i) AppendMember(oneof->field(i), path, page);
    return;
  }
  AppendHeading(absl::StrCat("`", path, "`"), DocOf(section).doc(), page);
  for (const FieldDescriptor* field : PlainFields(section->message_type())) {
    AppendRow("", field, page);
  }
  AppendSections(section->message_type(), path + ".", page);
}

void AppendSections(const Descriptor* message, const std::string& path, std::string* page) {
  for (const FieldDescriptor* field : PlainFields(message)) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    AppendSection(field, path + field->name(), page);
  }
}

}  // namespace

std::string JobReferencePage() {
  std::string page = kIntroduction;
  AppendHeading("Top level", "", &page);
  for (const FieldDescriptor* field : PlainFields(v1::JobSpec::descriptor())) {
    AppendRow("", field, &page);
  }
  AppendSections(v1::JobSpec::descriptor(), "", &page);
  absl::StrAppend(&page, "\n## Keys that are refused where a job would ignore them\n\n",
                  IgnoredKeysList());
  return page;
}

}  // namespace retort::job
