// The shared-memory all-reduce against Open MPI and against memcpy, in one run.
//   mpirun -n 2 --bind-to none build/bench/allreduce_bench [--mib=512] [--rounds=9]
// A round times each variant once, so that all of them see the same machine; a time is that of the
// slower rank. An all-reduce in the buffer reads n bytes and writes n bytes per rank, which is what
// memcpy of n bytes does: its share of memcpy's bandwidth is the ratio of the times.
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "common/base/check.h"
#include "common/base/random_id.h"
#include "common/base/status_macros.h"
#include "common/collective/mpi_collective.h"
#include "common/collective/shm_collective.h"
#include "common/ring/broker_client.h"
#include "common/ring/fd_broker.h"

ABSL_FLAG(int64_t, mib, 512, "fp32 data per rank, in MiB");
ABSL_FLAG(int, rounds, 9, "measured rounds, after one to warm up");
ABSL_FLAG(bool, check, false, "exit with 1 if a target is missed");

namespace retort {
namespace {

using collective::Collective;

struct Variant {
  std::string name;
  std::function<void()> run;
  std::vector<double> milliseconds;
};

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

void MustBeOk(const absl::Status& status) { RETORT_CHECK(status.ok()) << status.ToString(); }

collective::SharedMemorySource BrokerMemory(const ring::BrokerAddress& broker) {
  collective::SharedMemorySource memory;
  memory.open = [broker](const std::string& name, int64_t bytes,
                         absl::Duration timeout) -> absl::StatusOr<std::shared_ptr<std::byte>> {
    RETORT_ASSIGN_OR_RETURN(
        ring::Segment segment,
        ring::OpenSegment(broker, name, bytes, ring::Access::kReadWrite, timeout));
    return ring::ShareMemory(std::move(segment));
  };
  memory.drop = [broker](const std::string& prefix) {
    return ring::DropSegments(broker, prefix, absl::Seconds(5));
  };
  return memory;
}

// Ordinary memory with huge pages, as the shared segments have them.
at::Tensor HugeTensor(int64_t elements) {
  const size_t bytes = static_cast<size_t>(elements) * sizeof(float);
  void* const data = std::aligned_alloc(size_t{2} << 20, bytes);
  RETORT_CHECK(data != nullptr) << "no memory";
  madvise(data, bytes, MADV_HUGEPAGE);
  at::Tensor tensor = at::from_blob(
      data, {elements}, [](void* p) { std::free(p); }, at::TensorOptions(at::kFloat));
  return tensor.fill_(1.0f);
}

double TimeOnAllRanks(const std::function<void()>& run) {
  MPI_Barrier(MPI_COMM_WORLD);
  const double start = MPI_Wtime();
  run();
  const double mine = MPI_Wtime() - start;
  double slowest = 0;
  MPI_Allreduce(&mine, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return slowest * 1e3;
}

// What the variants work on; each [elements] fp32.
struct Memory {
  at::Tensor buffer;    // From AllocateBuffer.
  at::Tensor ordinary;  // As LibTorch allocates it: what MPI is given by those who use MPI.
  at::Tensor huge;   // Ordinary memory with huge pages, which spare MPI's copies between processes
                     // much work.
  at::Tensor other;  // The same, for memcpy: the fastest copy there is.
};

void MpiInOneCall(const at::Tensor& tensor) {
  MPI_Allreduce(MPI_IN_PLACE, tensor.data_ptr(), static_cast<int>(tensor.numel()), MPI_FLOAT,
                MPI_SUM, MPI_COMM_WORLD);
}

void MpiInBuckets(const at::Tensor& tensor) {
  constexpr int64_t kBucket = (int64_t{1} << 20) / sizeof(float);
  auto* const data = static_cast<float*>(tensor.data_ptr());
  for (int64_t first = 0; first < tensor.numel(); first += kBucket) {
    const int64_t n = std::min(kBucket, tensor.numel() - first);
    MPI_Allreduce(MPI_IN_PLACE, data + first, static_cast<int>(n), MPI_FLOAT, MPI_SUM,
                  MPI_COMM_WORLD);
  }
}

constexpr int kMemcpy = 0, kShm = 1, kOneCall = 2, kBuckets = 3, kHugeOneCall = 4, kHugeBuckets = 5;

std::vector<Variant> MakeVariants(Collective& shm, Collective& mpi, const Memory& m) {
  return {
      {"memcpy, huge pages",
       [=] { std::memcpy(m.other.data_ptr(), m.huge.data_ptr(), m.huge.nbytes()); },
       {}},
      {"shm, in its buffer", [=, &shm] { MustBeOk(shm.AllReduceSum(m.buffer)); }, {}},
      {"MPI_Allreduce, one call", [=] { MpiInOneCall(m.ordinary); }, {}},
      {"MPI_Allreduce, 1 MiB buckets", [=] { MpiInBuckets(m.ordinary); }, {}},
      {"  one call, huge pages", [=] { MpiInOneCall(m.huge); }, {}},
      {"  1 MiB buckets, huge pages", [=] { MpiInBuckets(m.huge); }, {}},
      {"shm, ordinary tensor", [=, &shm] { MustBeOk(shm.AllReduceSum(m.ordinary)); }, {}},
      {"mpi, rank order", [=, &mpi] { MustBeOk(mpi.AllReduceSum(m.ordinary)); }, {}},
  };
}

// Returns whether the targets are met.
bool Print(const std::vector<Variant>& variants, int ranks, double mib) {
  const auto median = [&](int i) { return Quantile(variants[i].milliseconds, 0.5); };
  std::printf("all-reduce of %.0f MiB fp32, %d processes, %zu rounds (ms)\n", mib, ranks,
              variants[0].milliseconds.size());
  std::printf("%-30s %8s %8s %8s %8s %9s\n", "", "median", "25 %", "75 %", "GiB/s", "of memcpy");
  for (const Variant& v : variants) {
    const double middle = Quantile(v.milliseconds, 0.5);
    std::printf("%-30s %8.1f %8.1f %8.1f %8.2f %8.0f%%\n", v.name.c_str(), middle,
                Quantile(v.milliseconds, 0.25), Quantile(v.milliseconds, 0.75),
                mib / 1024 / middle * 1e3, 100 * median(kMemcpy) / middle);
  }
  const double against_mpi = std::min(median(kOneCall), median(kBuckets)) / median(kShm);
  const double of_memcpy = median(kMemcpy) / median(kShm);
  std::printf("shm against the faster MPI_Allreduce: %.2fx (target 2x)\n", against_mpi);
  std::printf("  given huge pages too: %.2fx\n",
              std::min(median(kHugeOneCall), median(kHugeBuckets)) / median(kShm));
  std::printf("shm against memcpy bandwidth: %.0f%% (target 70%%)\n", 100 * of_memcpy);
  return against_mpi >= 2 && of_memcpy >= 0.7;
}

int Main() {
  auto runtime = collective::MpiRuntime::Start();
  if (!runtime.ok()) {
    std::fprintf(stderr, "%s\n", runtime.status().ToString().c_str());
    return 2;
  }
  const auto [rank, ranks] = (*runtime)->place();
  char secret[33] = {};
  if (rank == 0) std::strcpy(secret, RandomHex(16).c_str());
  MPI_Bcast(secret, sizeof(secret), MPI_CHAR, 0, MPI_COMM_WORLD);
  const std::string socket = std::string("retort-bench-") + secret;
  std::unique_ptr<ring::FdBroker> broker;
  if (rank == 0) broker = *ring::FdBroker::Start({.socket = socket, .token = secret});

  auto shm = collective::MakeShmCollective({.name = "bench", .rank = rank, .world_size = ranks},
                                           BrokerMemory({socket, secret}));
  MustBeOk(shm.status());
  std::vector<int> members;
  for (int r = 0; r < ranks; ++r) members.push_back(r);
  auto mpi = (*runtime)->MakeCollective(members, 1, {});
  MustBeOk(mpi.status());
  const int64_t elements = (absl::GetFlag(FLAGS_mib) << 20) / static_cast<int64_t>(sizeof(float));
  auto buffer = (*shm)->AllocateBuffer(elements);
  MustBeOk(buffer.status());
  buffer->fill_(1.0f);
  const Memory memory{*buffer, at::ones({elements}), HugeTensor(elements), HugeTensor(elements)};
  std::vector<Variant> variants = MakeVariants(**shm, **mpi, memory);
  for (int round = -1; round < absl::GetFlag(FLAGS_rounds); ++round) {
    for (Variant& variant : variants) {
      const double ms = TimeOnAllRanks(variant.run);
      if (round >= 0) variant.milliseconds.push_back(ms);
    }
    for (const at::Tensor& t : {memory.buffer, memory.ordinary, memory.huge}) {
      t.fill_(1.0f);  // Or the sums overflow.
    }
  }
  const bool met =
      rank != 0 || Print(variants, ranks, static_cast<double>(absl::GetFlag(FLAGS_mib)));
  mpi->reset();
  MustBeOk((*shm)->Barrier());
  shm->reset();
  MustBeOk((*runtime)->Finish());
  return met || !absl::GetFlag(FLAGS_check) ? 0 : 1;
}

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return retort::Main();
}
