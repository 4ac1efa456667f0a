// The child processes of retort-gpu-test.
#pragma once

#include <string>
#include <vector>

#include "common/ring/tensor_header.h"
#include "common/ring/tensor_ring.h"

namespace retort::gpu {

// Of the ring between the test and its producer.
inline ring::TensorRingShape TestRing() {
  return {.slots = 2,
          .slot_bytes = int64_t{64} << 20,
          .max_consumers = 2,
          .transport = ring::TransportKind::kDeviceIpc};
}
inline int64_t TestRingElements() { return TestRing().slot_bytes / int64_t{sizeof(float)}; }

// SOCKET TOKEN EPOCH COUNT: writes tensors 0 .. COUNT - 1, of which number i holds EPOCH + i, says
// "written" and waits until it is killed or standard input ends.
int RingProducerMain(int argc, char** argv);

// RANK WORLD_SIZE DEVICE ELEMENTS ID: joins the group, sums a buffer of ELEMENTS that holds RANK +
// 1 a few times, checks the sums and prints "sums of N bytes: X GB/s". ID: 256 hex digits.
int NcclRankMain(int argc, char** argv);

}  // namespace retort::gpu
