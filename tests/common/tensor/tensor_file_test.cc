#include "common/tensor/tensor_file.h"

#include <unistd.h>

#include "common/base/file.h"
#include "gtest/gtest.h"

namespace retort::tensor {
namespace {

std::string Scratch(const std::string& name) {
  return testing::TempDir() + "/tensor_file_test_" + name + ".safetensors";
}

std::string WriteExample(const std::string& name) {
  const std::string path = Scratch(name);
  EXPECT_TRUE(WriteTensorFile(path, {{"ids", at::arange(3)}, {"x", at::ones({2, 2})}}).ok());
  return path;
}

TEST(TensorFileTest, RoundTrip_EveryDtype) {
  const std::string path = Scratch("round_trip");
  TensorMap tensors;
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,
                                    at::kInt, at::kShort, at::kChar, at::kByte, at::kBool}) {
    tensors[at::toString(type)] = (at::arange(6).view({2, 3}) % 2).to(type);
  }
  tensors["scalar"] = at::full({}, 7.5);
  tensors["empty"] = at::zeros({0, 4});
  WrittenFile written;
  ASSERT_TRUE(WriteTensorFile(path, tensors, {{"k", "v"}}, &written).ok());
  const TensorMap got = *ReadTensorFile(path);
  ASSERT_EQ(got.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(got.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(got.at(name), tensor)) << name;
  }
  const std::string bytes = *ReadFile(path, 1 << 20);
  EXPECT_EQ(written.bytes, static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(written.digest, DigestOf(bytes));
}

TEST(TensorFileTest, Read_TruncatedAtEachLength_RefusedWithThePath) {
  const std::string path = WriteExample("truncated");
  const std::string whole = *ReadFile(path, 1 << 20);
  for (size_t length = 0; length < whole.size(); ++length) {
    ASSERT_TRUE(WriteFileDurably(path, whole.substr(0, length)).ok());
    const absl::Status status = ReadTensorFile(path).status();
    ASSERT_FALSE(status.ok()) << length;
    ASSERT_EQ(status.message().find(path), 0u) << status;
  }
}

TEST(TensorFileTest, Read_HugeHeaderLength_RefusedBeforeItIsRead) {
  const std::string path = Scratch("huge_header");
  for (const std::string& length : {std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8),
                                    std::string("\x01\x00\x00\x01\x00\x00\x00\x00", 8)}) {
    ASSERT_TRUE(WriteFileDurably(path, length + "{}").ok());
    EXPECT_EQ(ReadTensorFile(path).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(TensorFileTest, Read_HeaderAboveAQuarter_Refused) {
  const std::string path = Scratch("fat_header");
  std::string header = "{}";
  header.resize((size_t{1} << 20) + 8, ' ');
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  ASSERT_TRUE(WriteFileDurably(path, bytes + header).ok());
  EXPECT_NE(ReadTensorFile(path).status().message().find("a quarter of the file"),
            absl::string_view::npos);
}

TEST(TensorFileTest, Read_BoolByteTwo_Refused) {
  const std::string path = Scratch("bool");
  ASSERT_TRUE(WriteTensorFile(path, {{"m", at::ones({1}, at::kBool)}}).ok());
  std::string bytes = *ReadFile(path, 1 << 20);
  bytes.back() = 2;
  ASSERT_TRUE(WriteFileDurably(path, bytes).ok());
  EXPECT_NE(ReadTensorFile(path).status().message().find("neither 0 nor 1"),
            absl::string_view::npos);
}

TEST(TensorFileTest, Read_AboveTheBound_ResourceExhausted) {
  EXPECT_EQ(ReadTensorFile(WriteExample("bound"), 16).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(TensorFileTest, Read_DtypeWithoutATensorType_RefusedByName) {
  const std::string path = Scratch("u64");
  ASSERT_TRUE(WriteFileDurably(
                  path, layout::EncodeSafetensorsHeader({{"n", "U64", {1}}}) + std::string(8, '\0'))
                  .ok());
  const absl::Status status = ReadTensorFile(path).status();
  EXPECT_NE(status.message().find("\"n\""), absl::string_view::npos) << status;
  EXPECT_NE(status.message().find("U64"), absl::string_view::npos) << status;
}

TEST(TensorFileTest, Write_DiskFull_ResourceExhausted) {
  ASSERT_TRUE(FileExists("/dev/full"));
  const std::string path = Scratch("full");
  unlink(path.c_str());
  ASSERT_EQ(symlink("/dev/full", path.c_str()), 0);
  EXPECT_EQ(WriteTensorFile(path, {{"x", at::ones({4})}}).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(FileExists(path));
}

}  // namespace
}  // namespace retort::tensor
