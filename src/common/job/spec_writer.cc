#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/job/applicability.h"
#include "common/job/job_file.h"
#include "common/job/scalar.h"
#include "common/job/schema.h"

namespace retort::job {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

class SpecWriter {
 public:
  explicit SpecWriter(const v1::JobSpec& spec) : spec_(spec) {}

  std::string Write() {
    WriteFields(spec_, "", "");
    return std::move(out_);
  }

 private:
  void WriteFields(const Message& message, const std::string& path, const std::string& indent) {
    for (const FieldDescriptor* field : PlainFields(message.GetDescriptor())) {
      const std::string key = absl::StrCat(path, path.empty() ? "" : ".", field->name());
      if (!WhyIgnored(spec_, key).empty()) continue;
      const bool repeated = field->is_repeated();
      const bool section = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
      if (section && !repeated && !message.GetReflection()->HasField(message, field)) continue;
      absl::StrAppend(&out_, indent, field->name(), ":");
      if (repeated && !section) {
        WriteStrings(message, field);
      } else if (repeated) {
        WriteList(message, field, key, indent);
      } else if (section) {
        out_ += '\n';
        WriteFields(message.GetReflection()->GetMessage(message, field), key, indent + "  ");
      } else {
        absl::StrAppend(&out_, " ", ScalarText(message, field), "\n");
      }
    }
  }

  void WriteStrings(const Message& message, const FieldDescriptor* field) {
    std::vector<std::string> entries;
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      entries.push_back(ScalarText(message, field, i));
    }
    absl::StrAppend(&out_, " [", absl::StrJoin(entries, ", "), "]\n");
  }

  void WriteList(const Message& message, const FieldDescriptor* field, const std::string& path,
                 const std::string& indent) {
    const int size = message.GetReflection()->FieldSize(message, field);
    out_ += size == 0 ? " []\n" : "\n";
    for (int i = 0; i < size; ++i) {
      const Message& entry = message.GetReflection()->GetRepeatedMessage(message, field, i);
      const FieldDescriptor* member =
          entry.GetReflection()->GetOneofFieldDescriptor(entry, InlineOneof(entry.GetDescriptor()));
      absl::StrAppend(&out_, indent, "  - ", kOneofKey, ": ", member->name(), "\n");
      const std::string key = absl::StrCat(path, ".", i);
      WriteFields(entry.GetReflection()->GetMessage(entry, member), key, indent + "    ");
      WriteFields(entry, key, indent + "    ");
    }
  }

  const v1::JobSpec& spec_;
  std::string out_;
};

}  // namespace

std::string JobToYaml(const v1::JobSpec& spec) { return SpecWriter(spec).Write(); }

}  // namespace retort::job
