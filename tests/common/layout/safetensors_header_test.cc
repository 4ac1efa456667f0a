#include "common/layout/safetensors_header.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace retort::layout {
namespace {

constexpr char kOne[] = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

// The header as a file would hold it, with `data_bytes` behind it.
absl::StatusOr<SafetensorsHeader> Parse(const std::string& json, int64_t data_bytes) {
  return ParseSafetensorsHeader(json, 8 + static_cast<int64_t>(json.size()) + data_bytes, "m.st");
}

TEST(SafetensorsHeaderTest, Parse_EntriesInFileOrder_FileOffsets) {
  const std::string json =
      R"({"b":{"dtype":"I64","shape":[],"data_offsets":[8,16]},"__metadata__":{"format":"pt"},)"
      R"("a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}})";
  const SafetensorsHeader header = *Parse(json, 16);
  ASSERT_EQ(header.entries.size(), 2u);
  EXPECT_EQ(header.entries[0].name, "a");
  EXPECT_EQ(header.entries[0].begin, 8 + static_cast<int64_t>(json.size()));
  EXPECT_EQ(header.Find("b")->elements, 1);
  EXPECT_EQ(header.metadata.at("format"), "pt");
  EXPECT_EQ(header.Find("c"), nullptr);
}

TEST(SafetensorsHeaderTest, Parse_EmptyTensorsAndNoTensors_Accepted) {
  EXPECT_TRUE(Parse(R"({"e":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}})", 0).ok());
  EXPECT_TRUE(Parse("{}", 0).ok());
}

TEST(SafetensorsHeaderTest, Parse_BadInput_RefusedByName) {
  const auto one = [](const char* dtype, const char* shape, const char* offsets) {
    return absl::StrCat(R"({"a":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)",
                        offsets, "}}");
  };
  const struct {
    const char* what;
    std::string json;
    int64_t data_bytes;
    const char* message;
  } cases[] = {
      {"not an object", "[]", 0, "does not start with '{'"},
      {"blank first", " {}", 0, "does not start with '{'"},
      {"not JSON", "{,}", 0, "not valid JSON"},
      {"duplicate",
       absl::StrCat("{", std::string(kOne).substr(1, sizeof(kOne) - 3), ",",
                    std::string(kOne).substr(1)),
       8, "appears twice"},
      {"deep", R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8, "nested deeper"},
      {"dtype", one("F31", "[2]", "[0,8]"), 8, "dtype \"F31\" is unknown"},
      {"extra key", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8,
       "exactly dtype, shape and data_offsets"},
      {"negative size", one("F32", "[-2]", "[0,8]"), 8, "no integer >= 0"},
      {"fraction", one("F32", "[2.0]", "[0,8]"), 8, "no integer >= 0"},
      {"rank", one("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, "at most 8 sizes"},
      {"overflow", one("F32", "[4294967296,4294967296,4294967296]", "[0,8]"), 8, "2^48"},
      {"overflow beside zero", one("F32", "[0,4294967296,4294967296,4294967296]", "[0,0]"), 0,
       "2^48"},
      {"wrong shape", one("F32", "[3]", "[0,8]"), 8, "need 12"},
      {"reversed", one("F32", "[2]", "[8,0]"), 8, "0 <= begin <= end"},
      {"cut short", one("F32", "[2]", "[0,8]"), 7, "cut short"},
      {"hole in front", one("F32", "[2]", "[4,12]"), 12, "after a hole"},
      {"trailing bytes", kOne, 9, "1 bytes after the last tensor"},
      {"overlap",
       R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       12, "inside another tensor"},
      {"long name",
       absl::StrCat(R"({")", std::string(513, 'n'),
                    R"(":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"),
       8, "longer than 512 bytes"},
      {"name of two lines", R"({"a\nb":3})", 0, "tensor \"a\\nb\" is not described"},
      {"cut character", absl::StrCat(R"({")", std::string(79, 'n'), "é\":3}"), 0, "nnn…\" is not"},
      {"dtype of two lines", one("F\\n1é", "[2]", "[0,8]"), 8, "dtype \"F\\n1é\" is"},
      {"metadata", R"({"__metadata__":{"a":1}})", 0, "is not a string"},
  };
  for (const auto& c : cases) {
    const absl::Status status = Parse(c.json, c.data_bytes).status();
    EXPECT_FALSE(status.ok()) << c.what;
    EXPECT_EQ(status.message().find("m.st: "), 0u) << c.what << ": " << status;
    EXPECT_NE(status.message().find(c.message), absl::string_view::npos)
        << c.what << ": " << status;
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << c.what;
  }
}

TEST(SafetensorsHeaderTest, Encode_ParsesBack_DataAligned) {
  const std::string bytes =
      EncodeSafetensorsHeader({{"w", "F32", {3, 5}}, {"flag", "BOOL", {}}}, {{"format", "retort"}});
  EXPECT_EQ(bytes.size() % 64, 0u);
  const SafetensorsHeader header = *Parse(bytes.substr(8), 61);
  EXPECT_EQ(header.Find("w")->shape, (std::vector<int64_t>{3, 5}));
  EXPECT_EQ(header.Find("flag")->end, header.file_bytes);
  EXPECT_EQ(header.metadata.at("format"), "retort");
}

}  // namespace
}  // namespace retort::layout
