#include <cstdlib>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "common/job/job_file.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include "retort/v1/options.pb.h"

namespace retort::job {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using testing::HasSubstr;

TEST(ReferencePageTest, JobReferencePage_Docs_Equal) {
  const char* source = std::getenv("RETORT_SOURCE_DIR");
  ASSERT_NE(source, nullptr) << "RETORT_SOURCE_DIR is not set; run this through ctest";
  const std::string kept = std::string(source) + "/docs/job-file.md";
  const std::string made = testing::TempDir() + "/job-file.md";
  ASSERT_TRUE(WriteFileAtomically(made, JobReferencePage()).ok());
  const auto text = ReadFile(kept, 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_TRUE(*text == JobReferencePage()) << "run: cp " << made << " " << kept;
}

void ForEachField(const Descriptor* message, const auto& visit) {
  for (int i = 0; i < message->field_count(); ++i) {
    visit(message->field(i));
    if (message->field(i)->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      ForEachField(message->field(i)->message_type(), visit);
    }
  }
}

TEST(ReferencePageTest, Schema_EveryField_DocumentedAndWithADefinedDefault) {
  ForEachField(v1::JobSpec::descriptor(), [](const FieldDescriptor* field) {
    const v1::FieldDoc& doc = field->options().GetExtension(v1::field);
    EXPECT_NE(doc.doc(), "") << field->full_name();
    const bool has_value = doc.has_default_() || doc.required() || field->has_optional_keyword() ||
                           field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    EXPECT_TRUE(has_value) << field->full_name() << " has neither a default nor `required`";
    const bool number = field->cpp_type() == FieldDescriptor::CPPTYPE_INT32 ||
                        field->cpp_type() == FieldDescriptor::CPPTYPE_INT64 ||
                        field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE;
    EXPECT_EQ(number, doc.has_min() && doc.has_max()) << field->full_name() << ": bounds";
    EXPECT_THAT(JobReferencePage(), HasSubstr(doc.doc())) << field->full_name();
  });
}

}  // namespace
}  // namespace retort::job
