#include "common/ring/ring_model.h"

#include <tuple>

#include "absl/strings/str_cat.h"

namespace retort::ring::model {
namespace {

using Stage = Party::Stage;

bool IsCounter(WordId id) { return id.word == Word::kReleases || id.word == Word::kPublications; }

}  // namespace

World::World(const Setup& setup) {
  for (int i = 0; i < setup.producers; ++i) {
    parties_[i].producer = true;
    parties_[i].epoch = static_cast<uint64_t>(i + 1);
    StartStage(setup, i, Stage::kTakeRing);
  }
  parties_count_ = setup.producers + setup.consumers;
  for (int i = setup.producers; i < parties_count_; ++i) {
    parties_[i].await = AwaitSlot(0, setup.await_successor);
    StartStage(setup, i, setup.joined ? Stage::kAwait : Stage::kAttach);
    if (!setup.joined) continue;
    parties_[i].entry = i - setup.producers;
    Store({Word::kOwner, 0, parties_[i].entry}, static_cast<uint64_t>(i + 1));
  }
}

std::strong_ordering World::operator<=>(const World& other) const {
  const auto all = [](const World& w) {
    return std::tie(w.words_, w.moved_, w.parties_, w.payload_, w.freed_, w.value_of_turn_,
                    w.generation_of_turn_, w.kills_);
  };
  return all(*this) <=> all(other);
}

size_t World::IndexOf(WordId id) {
  const auto consumer = static_cast<size_t>(id.consumer);
  switch (id.word) {
    case Word::kOwner:
      return 8 + consumer;
    case Word::kOpened:
      return 10 + consumer;
    case Word::kLease:
      return 12 + consumer;
    case Word::kState:
      return 14;
    case Word::kWriter:
      return 15;
    default:
      return static_cast<size_t>(id.word);
  }
}

uint64_t World::Load(WordId id) {
  if (!IsCounter(id)) return words_[IndexOf(id)];
  moved_[current_][id.word == Word::kReleases] = false;
  return 0;
}

void World::Add(WordId counter) {
  if (!IsCounter(counter)) {
    ++words_[IndexOf(counter)];
    return;
  }
  for (auto& moved : moved_) moved[counter.word == Word::kReleases] = true;
}

uint64_t World::CompareExchange(WordId id, uint64_t expected, uint64_t desired) {
  uint64_t& word = words_[IndexOf(id)];
  const uint64_t before = word;
  if (before == expected) word = desired;
  return before;
}

bool World::SomeProducerLives() const {
  for (int i = 0; i < parties_count_; ++i) {
    const Party& party = parties_[i];
    if (party.producer && party.alive && party.stage != Stage::kEnd) return true;
  }
  return false;
}

std::vector<World::Action> World::Actions(const Setup& setup) const {
  std::vector<Action> actions;
  for (int i = 0; i < parties_count_; ++i) {
    const Party& party = parties_[i];
    if (!party.alive || party.stage == Stage::kEnd) continue;
    // A second producer is started for a dead one, unless they overlap.
    const bool waits_for_its_turn = party.producer && i > 0 && !setup.overlap &&
                                    parties_[i - 1].alive && party.stage == Stage::kTakeRing;
    if (waits_for_its_turn) continue;
    const bool moved = moved_[i][party.counter.word == Word::kReleases];
    if (!party.waiting || moved) {
      actions.push_back({Action::Kind::kStep, i});
    }
    const auto* const take = std::get_if<TakeSlot>(&party.program);
    if (party.waiting && take != nullptr && setup.patience != Patience::kEndless &&
        (take->waits_for_lease() || setup.patience == Patience::kGiveUp)) {
      actions.push_back({Action::Kind::kTimeOut, i});
    }
    if (kills_ < setup.kills) actions.push_back({Action::Kind::kKill, i});
  }
  return actions;
}

std::string World::Do(const Setup& setup, const Action& action) {
  Party& party = parties_[action.party];
  if (action.kind == Action::Kind::kKill) {
    Party dead;
    dead.producer = party.producer;
    dead.alive = false;
    party = dead;
    // Who sleeps is woken by a counter. That it also looks from time to time must only be needed
    // after a death, and one look after it must do.
    for (auto& moved : moved_) moved = {true, true};
    moved_[action.party] = {};
    ++kills_;
    return "";
  }
  if (action.kind == Action::Kind::kTimeOut) {
    party.waiting = false;
    if (setup.patience == Patience::kRevoke) {
      std::get<TakeSlot>(party.program).Revoke();
    } else {
      std::get<TakeSlot>(party.program).GiveUp();
    }
    return "";
  }
  current_ = action.party;
  std::string broken = Step(setup, action.party);
  return broken.empty() ? CheckSlot(setup) : broken;
}

std::string World::WritePart(const Setup& setup, int index, size_t part) {
  Party& party = parties_[index];
  for (int i = 0; i < parties_count_; ++i) {
    const Party& other = parties_[i];
    if (i == index || !other.alive) continue;
    const bool writes =
        other.producer && (other.stage == Stage::kWriteFirst || other.stage == Stage::kWriteSecond);
    if (writes && !setup.device) return "two living producers write one slot";
    const bool reads = !other.producer && other.has_lease && setup.patience != Patience::kRevoke &&
                       (!setup.device || generation_of_turn_[other.turn] == party.generation);
    if (reads) return absl::StrCat("wrote under the lease of party ", i);
  }
  PayloadOf(setup, party.generation)[part] = value_of_turn_[party.turn];
  return "";
}

// What StillHolds vouches for is whole.
std::string World::CheckRead(int index) const {
  const Party& party = parties_[index];
  if (!StillHas(Word0({Word::kState}), party.turn)) return "";
  const int want = value_of_turn_[party.turn];
  if (party.read[0] == want && party.read[1] == want) return "";
  return absl::StrCat("party ", index, " read ", party.read[0], " and ", party.read[1],
                      " and was told that it holds ", want);
}

// A slot that readers may take for full holds its turn's payload.
std::string World::CheckSlot(const Setup& setup) const {
  const uint64_t state = Word0({Word::kState});
  const uint64_t turn = TurnOf(state);
  const bool at_rest = PhaseOf(state) == Phase::kEmpty || PhaseOf(state) == Phase::kFull;
  if (Word0({Word::kWriter}) == 0 && !at_rest) return "nobody has a slot that is not at rest";
  if (!StillHas(state, turn)) return "";
  const std::array<int, 2>& payload = payload_[setup.device ? generation_of_turn_[turn] : 0];
  const int want = value_of_turn_[turn];
  if (payload[0] == want && payload[1] == want) return "";
  return absl::StrCat("the slot is full with ", payload[0], " and ", payload[1], ", not ", want);
}

std::string World::AtEnd(const Setup& setup) const {
  int finished = 0;
  for (int i = 0; i < parties_count_; ++i) {
    const Party& party = parties_[i];
    const bool never_started = party.producer && i > 0 && party.stage == Stage::kTakeRing;
    if (!party.alive) continue;
    const bool may_wait =
        !party.producer && party.waiting && setup.await_successor && !SomeProducerLives();
    if (party.stage != Stage::kEnd && !never_started && !may_wait) {
      return absl::StrCat("party ", i, " sleeps for ever");
    }
    finished += party.stage == Stage::kEnd;
    const bool all_written = party.done == setup.writes || never_started || setup.overlap ||
                             setup.patience == Patience::kGiveUp;
    if (party.producer && !all_written) return "a producer that was alone did not write";
  }
  for (int entry = 0; entry < kMaxConsumers; ++entry) {
    const uint64_t owner = Word0({Word::kOwner, 0, entry});
    const bool waits = owner != 0 && parties_[owner - 1].waiting;
    if (owner != 0 && parties_[owner - 1].alive && !waits)
      return "a consumer that ended keeps its entry";
    const bool held = Word0({Word::kLease, 0, entry}) != 0;
    if (held && (owner == 0 || parties_[owner - 1].alive)) return "a lease is left behind";
  }
  const uint64_t writer = Word0({Word::kWriter});
  if (writer != 0 && parties_[writer - 1].alive) return "a producer that ended keeps the slot";
  return "";
}

std::string World::Describe() const {
  std::string text;
  for (int i = 0; i < parties_count_; ++i) {
    absl::StrAppend(&text, parties_[i].producer ? " producer" : " consumer", i, " stage ",
                    static_cast<int>(parties_[i].stage), parties_[i].alive ? "" : " dead",
                    parties_[i].waiting ? " waits" : "", ";");
  }
  const uint64_t state = Word0({Word::kState});
  absl::StrAppend(&text, " state ", static_cast<int>(PhaseOf(state)), "/", TurnOf(state),
                  " writer ", Word0({Word::kWriter}), " leases ", Word0({Word::kLease, 0, 0}), ",",
                  Word0({Word::kLease, 0, 1}));
  return text;
}

}  // namespace retort::ring::model
