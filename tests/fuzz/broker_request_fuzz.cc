// A packet to the segment broker: INVALID_ARGUMENT, or a request that survives its own encoding.
#include "common/base/check.h"
#include "common/ring/broker_protocol.h"
#include "fuzz/fuzz_target.h"

namespace retort::fuzz {

std::vector<std::string> Seeds() {
  using ring::BrokerOperation;
  return {
      *ring::EncodeRequest({BrokerOperation::kOpen, "0123456789abcdef", "job/weights", 1 << 20}),
      *ring::EncodeRequest({BrokerOperation::kDrop, "t", "job/", 0}),
      *ring::EncodeRequest({BrokerOperation::kOpen, std::string(ring::kMaxTokenBytes, 't'),
                            std::string(ring::kMaxNameBytes, 'n'), INT64_MAX}),
  };
}

}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  const auto request =
      ring::DecodeRequest(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!request.ok()) {
    fuzz::CheckRefusal(request.status(), {absl::StatusCode::kInvalidArgument},
                       {"broker ", "segment ", "not a broker request"});
    return 0;
  }
  fuzz::NoteAccepted();
  const auto packet = ring::EncodeRequest(*request);
  RETORT_CHECK(packet.ok()) << packet.status();
  const auto again = ring::DecodeRequest(*packet);
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(again->operation == request->operation && again->token == request->token &&
               again->name == request->name && again->bytes == request->bytes);
  return 0;
}
