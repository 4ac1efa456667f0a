#include "fuzz/fuzz_target.h"

#include <algorithm>
#include <atomic>

#include "absl/strings/match.h"
#include "common/base/check.h"
#include "common/base/utf8.h"

namespace retort::fuzz {
namespace {

std::atomic<int64_t> accepted{0};

}  // namespace

std::vector<absl::string_view> Documents(const uint8_t* data, size_t size) {
  absl::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<absl::string_view> documents;
  for (size_t at = rest.find(kSeparator); at != rest.npos; at = rest.find(kSeparator)) {
    documents.push_back(rest.substr(0, at));
    rest.remove_prefix(at + kSeparator.size());
  }
  documents.push_back(rest);
  return documents;
}

void NoteAccepted() { ++accepted; }
int64_t AcceptedCount() { return accepted; }

void CheckRefusal(const absl::Status& status, std::initializer_list<absl::StatusCode> codes,
                  std::initializer_list<absl::string_view> sources) {
  const absl::string_view message = status.message();
  RETORT_CHECK(std::find(codes.begin(), codes.end(), status.code()) != codes.end()) << status;
  RETORT_CHECK(std::any_of(sources.begin(), sources.end(), [&](absl::string_view source) {
    return absl::StartsWith(message, source);
  })) << status;
  RETORT_CHECK(!FirstInvalidByte(message)) << status;
  RETORT_CHECK(std::none_of(message.begin(), message.end(), [](unsigned char c) {
    return c < 0x20 || c == 0x7f;
  })) << status;
}

}  // namespace retort::fuzz
