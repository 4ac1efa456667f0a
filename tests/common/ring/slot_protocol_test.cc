// Every interleaving of a producer, its successor and consumers, with a death before every access.
#include "common/ring/slot_protocol.h"

#include <algorithm>
#include <set>
#include <vector>

#include "common/ring/ring_model.h"
#include "gtest/gtest.h"

namespace retort::ring::model {
namespace {

struct Explored {
  size_t worlds = 0;
  size_t ends = 0;
};

bool IsDeath(const World::Action& action) { return action.kind == World::Action::Kind::kKill; }

// All worlds that can be reached; a path to the first broken promise is printed.
Explored Explore(const Setup& setup) {
  struct Step {
    World world;
    std::vector<World::Action> actions;
    size_t next = 0;
  };
  Explored explored;
  std::set<World> seen;
  std::vector<Step> path;
  const World start(setup);
  seen.insert(start);
  path.push_back({start, start.Actions(setup), 0});
  const auto report = [&](const std::string& broken, const World& last) {
    std::string text;
    for (const Step& step : path) text += step.world.Describe() + "\n";
    ADD_FAILURE() << broken << "\n" << text << last.Describe();
  };
  while (!path.empty()) {
    Step& top = path.back();
    // Nobody moves by himself any more: a death must not be what wakes the others.
    if (top.next == 0 && std::ranges::all_of(top.actions, IsDeath)) {
      ++explored.ends;
      if (const std::string broken = top.world.AtEnd(setup); !broken.empty()) {
        report(broken, top.world);
        return explored;
      }
    }
    if (top.next == top.actions.size()) {
      path.pop_back();
      continue;
    }
    World next = top.world;
    if (const std::string broken = next.Do(setup, top.actions[top.next++]); !broken.empty()) {
      report(broken, next);
      return explored;
    }
    if (seen.insert(next).second) path.push_back({next, next.Actions(setup), 0});
  }
  explored.worlds = seen.size();
  return explored;
}

struct Case {
  const char* name;
  Setup setup;
};

class SlotProtocolTest : public testing::TestWithParam<Case> {};

TEST_P(SlotProtocolTest, EveryInterleaving_DeathBeforeEveryAccess_PromisesHold) {
  const Explored explored = Explore(GetParam().setup);
  EXPECT_GT(explored.worlds, 500u);
  EXPECT_GT(explored.ends, 0u);
  std::printf("%s: %zu worlds, %zu ends\n", GetParam().name, explored.worlds, explored.ends);
}

INSTANTIATE_TEST_SUITE_P(
    Setups, SlotProtocolTest,
    testing::Values(Case{"consumer that joins", {.writes = 1, .reads = 1, .joined = false}},
                    Case{"producer and consumer", {}},
                    Case{"producer that gives up", {.patience = Patience::kGiveUp}},
                    Case{"producer that revokes", {.patience = Patience::kRevoke}},
                    Case{"producer that stays", {.writes = 1, .reads = 1, .stay = true}},
                    Case{"two consumers", {.consumers = 2, .writes = 2, .reads = 1}},
                    Case{"successor", {.producers = 2, .writes = 1, .reads = 1, .kills = 2}},
                    Case{"successor that gives up",
                         {.producers = 2, .writes = 1, .reads = 1, .patience = Patience::kGiveUp}},
                    Case{"consumer that awaits the successor",
                         {.producers = 2, .writes = 1, .reads = 1, .await_successor = true}},
                    Case{"older producer that lives",
                         {.producers = 2, .writes = 1, .reads = 1, .kills = 1, .overlap = true}},
                    Case{"consumers that join",
                         {.consumers = 2, .writes = 1, .reads = 1, .kills = 0, .joined = false}},
                    Case{"device consumer that awaits a successor",
                         {.writes = 1, .reads = 2, .device = true, .await_successor = true}},
                    Case{"device memory", {.writes = 1, .reads = 1, .device = true}},
                    Case{"device memory with successor",
                         {.producers = 2, .writes = 1, .reads = 1, .device = true}}),
    [](const auto& info) {
      std::string name = info.param.name;
      for (char& c : name) {
        if (c == ' ') c = '_';
      }
      return name;
    });

}  // namespace
}  // namespace retort::ring::model
