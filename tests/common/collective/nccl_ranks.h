// Ranks of NCCL groups as threads of one program, over fakes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/collective/nccl_collective.h"
#include "gtest/gtest.h"
#include "testing/fake_nccl.h"

namespace retort::collective {

// What a rank's process has.
struct NcclRank {
  NcclRank(gpu::FakeNcclNetwork* network, std::unique_ptr<gpu::FakeGpu> device)
      : owner(std::move(device)), gpu(*owner), nccl(network, &gpu) {}
  const std::unique_ptr<gpu::FakeGpu> owner;
  gpu::FakeGpu& gpu;
  gpu::FakeNccl nccl;
};

// Where LibTorch finds a rank's device tensors: among the CPU's, or on its pretended device
// (testing/pretend_device.h).
enum class TorchSees { kCpu, kPretendDevice };

class NcclWorld {
 public:
  explicit NcclWorld(int world_size, TorchSees torch = TorchSees::kCpu) {
    for (int r = 0; r < world_size; ++r) {
      std::unique_ptr<gpu::FakeGpu> gpu = std::make_unique<gpu::CpuTorchGpu>();
      if (torch == TorchSees::kPretendDevice) gpu = std::make_unique<gpu::FakeGpu>();
      ranks_.push_back(std::make_unique<NcclRank>(&network_, std::move(gpu)));
    }
  }

  int size() const { return static_cast<int>(ranks_.size()); }
  NcclRank& rank(int r) { return *ranks_[r]; }
  gpu::FakeNcclNetwork& network() { return network_; }
  gpu::NcclId NewId() { return ranks_[0]->nccl.MakeId().value(); }

  NcclGroup Group(int r, const gpu::NcclId& id, const CollectiveOptions& options = {}) {
    NcclGroup group;
    group.gpu = {&ranks_[r]->gpu, &ranks_[r]->nccl};
    group.id = id;
    group.rank = r;
    group.world_size = size();
    group.options = options;
    group.end_process = [this](const std::string& why) {
      MutexLock lock(&mutex_);
      ends_.push_back(why);
    };
    return group;
  }

  // Runs `body` as every rank of a new group, each in a thread; returns what each said.
  std::vector<std::string> Run(const CollectiveOptions& options,
                               const std::function<std::string(Collective&)>& body) {
    const gpu::NcclId id = NewId();
    std::vector<std::string> results(size());
    std::vector<std::thread> threads;
    for (int r = 0; r < size(); ++r) {
      threads.emplace_back([&, r] {
        auto group = MakeNcclCollective(Group(r, id, options));
        results[r] = group.ok() ? body(**group) : group.status().ToString();
      });
    }
    for (std::thread& thread : threads) thread.join();
    return results;
  }

  // Why processes were to end.
  std::vector<std::string> ends() {
    MutexLock lock(&mutex_);
    return ends_;
  }
  // Nothing that NCCL or the run-time leaves undefined was done, nothing is left.
  void ExpectClean() {
    EXPECT_TRUE(network_.misuses().empty()) << network_.misuses()[0];
    EXPECT_TRUE(ends().empty()) << ends()[0];
    for (const auto& rank : ranks_) {
      EXPECT_TRUE(rank->gpu.misuses().empty()) << rank->gpu.misuses()[0];
      EXPECT_EQ(rank->gpu.allocations(), 0);
      EXPECT_EQ(rank->gpu.events(), 0);
    }
  }

 private:
  gpu::FakeNcclNetwork network_;
  std::vector<std::unique_ptr<NcclRank>> ranks_;
  Mutex mutex_;
  std::vector<std::string> ends_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace retort::collective
