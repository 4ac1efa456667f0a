#include "common/ring/tensor_header.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::ring {
namespace {

using ::testing::HasSubstr;

TEST(TensorHeaderTest, DtypeBytes_EachDtype_SizeAndName) {
  const std::tuple<Dtype, int64_t, std::string> cases[] = {
      {Dtype::kFloat32, 4, "float32"}, {Dtype::kBFloat16, 2, "bfloat16"},
      {Dtype::kFloat16, 2, "float16"}, {Dtype::kInt64, 8, "int64"},
      {Dtype::kInt32, 4, "int32"},     {Dtype::kUint8, 1, "uint8"}};
  for (const auto& [dtype, bytes, name] : cases) {
    EXPECT_EQ(DtypeBytes(dtype), bytes);
    EXPECT_EQ(std::string(DtypeName(dtype)), name);
  }
  EXPECT_EQ(DtypeBytes(static_cast<Dtype>(0)), 0);
}

TEST(TensorHeaderTest, MakeTensorHeader_Shapes_Bytes) {
  EXPECT_EQ(MakeTensorHeader(0, 0, Dtype::kBFloat16, {3, 5}).bytes, 30);
  EXPECT_EQ(MakeTensorHeader(0, 0, Dtype::kInt64, {}).bytes, 8);
  EXPECT_EQ(MakeTensorHeader(0, 0, Dtype::kInt64, {4, 0, 7}).bytes, 0);
}

TEST(TensorHeaderTest, CheckTensorHeader_LargestThatFits_Ok) {
  EXPECT_TRUE(CheckTensorHeader(MakeTensorHeader(0, 0, Dtype::kUint8, {1, 1, 1, 1, 1, 1, 1, 100},
                                                 std::string(512, 'x')),
                                100)
                  .ok());
}

TEST(TensorHeaderTest, CheckTensorHeader_WrongFields_NameThem) {
  const auto check = [](TensorHeader header) {
    const absl::Status status = CheckTensorHeader(header, 1000);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  const TensorHeader good = MakeTensorHeader(7, 3, Dtype::kFloat32, {10});
  TensorHeader header = good;
  header.step = -1;
  EXPECT_THAT(check(header), HasSubstr("negative"));
  header = good;
  header.dtype = static_cast<Dtype>(9);
  EXPECT_THAT(check(header), HasSubstr("9 is no dtype"));
  header = good;
  header.shape = std::vector<int64_t>(9, 1);
  EXPECT_THAT(check(header), HasSubstr("9 dimensions"));
  header = good;
  header.annotation = std::string(513, 'x');
  EXPECT_THAT(check(header), HasSubstr("513"));
  header = good;
  header.bytes = 44;
  EXPECT_THAT(check(header), HasSubstr("tensor 3 of step 7: 44 bytes; its shape has 40"));
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{251},
                                            {-1},
                                            {int64_t{1} << 62, 4},
                                            {int64_t{1} << 32, int64_t{1} << 32}}) {
    header = good;
    header.shape = shape;
    EXPECT_THAT(check(header), HasSubstr("does not fit a slot of 1000 bytes"));
  }
}

}  // namespace
}  // namespace retort::ring
