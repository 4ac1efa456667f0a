#include "common/ring/ring_model.h"

#include <tuple>

#include "absl/strings/str_cat.h"

namespace retort::ring::model {
namespace {

using Stage = Party::Stage;

bool IsCounter(WordId id) { return id.word == Word::kReleases || id.word == Word::kPublications; }

bool IsPlain(Stage stage) {  // One access to the payload or the memory, no program.
  return stage == Stage::kWriteFirst || stage == Stage::kWriteSecond || stage == Stage::kFree ||
         stage == Stage::kExport || stage == Stage::kReadFirst || stage == Stage::kReadSecond ||
         stage == Stage::kCheck;
}

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

void World::StartStage(const Setup& setup, int index, Stage stage) {
  Party& party = parties_[index];
  const auto self = static_cast<uint64_t>(index + 1);
  party.stage = stage;
  party.program = {};
  switch (stage) {
    case Stage::kTakeRing:
      party.program = TakeRing(self, party.epoch, 1, setup.device);
      break;
    case Stage::kTakeSlot:
      party.program = TakeSlot(self, party.epoch, 0, kMaxConsumers);
      break;
    case Stage::kEndWrite:
      party.program = EndWrite(party.epoch, 0, party.turn, true);
      break;
    case Stage::kLeave:
      party.program = LeaveRing(self, party.generation, kMaxConsumers);
      break;
    case Stage::kAttach:
      party.program = AttachConsumer(self, 1, kMaxConsumers);
      break;
    case Stage::kLease:
      party.program = LeaseSlot(party.entry, 0, party.turn);
      break;
    case Stage::kOpen:
      party.program = DeclareOpen(party.entry, generation_of_turn_[party.turn]);
      break;
    case Stage::kRelease:
      party.has_lease = false;
      party.program = ReleaseSlot(party.entry, 0);
      break;
    case Stage::kClose:
    case Stage::kCloseStale:
      party.opened = 0;  // CloseMemory comes before the word is cleared.
      party.program = DeclareClosed(party.entry);
      break;
    case Stage::kDetach:
      party.program = DetachConsumer(party.entry, 1);
      break;
    default:
      break;
  }
}

std::string World::Step(const Setup& setup, int index) {
  Party& party = parties_[index];
  Progress progress = Progress::kDone;
  if (party.stage == Stage::kAwait) {
    const bool stale =
        party.waiting && party.opened != 0 && Word0({Word::kExported}) != party.opened;
    party.waiting = false;
    if (stale) {
      StartStage(setup, index, Stage::kCloseStale);
      return "";
    }
    progress = party.await.Step(*this);
    party.counter = party.await.counter();
  } else if (!IsPlain(party.stage)) {
    party.waiting = false;
    progress = std::visit(
        [&](auto& program) {
          if constexpr (std::is_same_v<std::decay_t<decltype(program)>, std::monostate>) {
            return Progress::kDone;
          } else {
            return program.Step(*this);
          }
        },
        party.program);
    if (const auto* take = std::get_if<TakeSlot>(&party.program)) {
      party.counter = take->counter();
    } else if (const auto* leave = std::get_if<LeaveRing>(&party.program)) {
      party.counter = leave->counter();
    }
  }
  party.waiting = progress == Progress::kWaiting;
  if (progress == Progress::kRunning || party.waiting) return "";
  return party.producer ? ProducerDone(setup, index, progress)
                        : ConsumerDone(setup, index, progress);
}

std::string World::ProducerDone(const Setup& setup, int index, Progress progress) {
  Party& party = parties_[index];
  const bool ok = progress == Progress::kDone;
  switch (party.stage) {
    case Stage::kTakeRing:
      if (!ok && !setup.overlap) return "a producer was refused though it is alone";
      if (!ok) {
        StartStage(setup, index, Stage::kEnd);
        return "";
      }
      party.generation = std::get<TakeRing>(party.program).generation();
      StartStage(setup, index, setup.device ? Stage::kExport : Stage::kTakeSlot);
      return "";
    case Stage::kExport: {
      const bool ours = CompareExchange({Word::kExported}, 0, party.generation) == 0;
      StartStage(setup, index, ours ? Stage::kTakeSlot : Stage::kLeave);
      return "";
    }
    case Stage::kTakeSlot: {
      const TakeSlot take = std::get<TakeSlot>(party.program);
      if (!ok) {
        if (take.outcome() == TakeSlot::Outcome::kFenced && !setup.overlap) return "fenced alone";
        StartStage(setup, index, Stage::kLeave);
        return "";
      }
      party.turn = take.turn();
      value_of_turn_[party.turn] = (index + 1) * 100 + static_cast<int>(party.turn);
      generation_of_turn_[party.turn] = party.generation;
      StartStage(setup, index, Stage::kWriteFirst);
      return "";
    }
    case Stage::kWriteFirst:
    case Stage::kWriteSecond: {
      const bool first = party.stage == Stage::kWriteFirst;
      std::string broken = WritePart(setup, index, first ? 0 : 1);
      StartStage(setup, index, first ? Stage::kWriteSecond : Stage::kEndWrite);
      return broken;
    }
    case Stage::kEndWrite:
      if (!ok && !setup.overlap) return "a write was lost though its producer is alone";
      StartStage(setup, index,
                 ok && ++party.done < setup.writes ? Stage::kTakeSlot
                 : setup.stay                      ? Stage::kEnd
                                                   : Stage::kLeave);
      return "";
    case Stage::kLeave:
      StartStage(setup, index, setup.device ? Stage::kFree : Stage::kEnd);
      return "";
    default:  // kFree
      for (int i = 0; i < parties_count_; ++i) {
        if (parties_[i].alive && parties_[i].opened == party.generation) {
          return absl::StrCat("freed memory that party ", i, " has open");
        }
      }
      freed_[party.generation] = true;
      StartStage(setup, index, Stage::kEnd);
      return "";
  }
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

void World::NextRead(const Setup& setup, int index) {
  Party& party = parties_[index];
  if (party.opened != 0 && Word0({Word::kExported}) != party.opened) {
    StartStage(setup, index, Stage::kCloseStale);
  } else {
    StartStage(setup, index, Stage::kAwait);
  }
}

std::string World::ConsumerDone(const Setup& setup, int index, Progress progress) {
  Party& party = parties_[index];
  const bool ok = progress == Progress::kDone;
  const Stage leave = party.opened != 0 ? Stage::kClose : Stage::kDetach;
  switch (party.stage) {
    case Stage::kAttach:
      if (!ok) return "no entry of the table was free";
      party.entry = std::get<AttachConsumer>(party.program).consumer();
      for (int i = 0; i < parties_count_; ++i) {
        const Party& other = parties_[i];
        const bool has_entry = other.stage != Stage::kAttach && other.stage != Stage::kDetach &&
                               other.stage != Stage::kEnd;
        const bool shares = i != index && other.alive && has_entry && other.entry == party.entry;
        if (shares) return "two living consumers have one entry";
      }
      StartStage(setup, index, Stage::kAwait);
      return "";
    case Stage::kCloseStale:
      StartStage(setup, index, Stage::kAwait);
      return "";
    case Stage::kAwait:
      if (!ok) {
        const uint64_t state = Word0({Word::kState});
        if (party.done == 0 && PhaseOf(state) == Phase::kFull && !setup.device &&
            parties_[0].stage == Stage::kEnd && setup.producers == 1) {
          return "a consumer missed what the producer published before it ended";
        }
        StartStage(setup, index, leave);
        return "";
      }
      party.turn = party.await.turn();
      StartStage(setup, index, Stage::kLease);
      return "";
    case Stage::kLease:
      if (ok) {
        party.has_lease = true;
        const bool opens = setup.device && party.opened != generation_of_turn_[party.turn];
        if (opens && party.opened != 0) {  // The reads of another generation are over: none is out.
          party.opened = 0;
        }
        StartStage(setup, index, opens ? Stage::kOpen : Stage::kReadFirst);
      } else {
        NextRead(setup, index);
      }
      return "";
    case Stage::kOpen:
      if (ok) {
        party.opened = generation_of_turn_[party.turn];
        StartStage(setup, index, Stage::kReadFirst);
      } else {
        party.done = setup.reads;  // UNAVAILABLE.
        StartStage(setup, index, Stage::kRelease);
      }
      return "";
    case Stage::kReadFirst:
    case Stage::kReadSecond: {
      const uint64_t generation = generation_of_turn_[party.turn];
      if (setup.device && freed_[generation]) return "read memory that was freed";
      const bool first = party.stage == Stage::kReadFirst;
      party.read[first ? 0 : 1] = PayloadOf(setup, generation)[first ? 0 : 1];
      StartStage(setup, index, first ? Stage::kReadSecond : Stage::kCheck);
      return "";
    }
    case Stage::kCheck: {
      std::string broken = CheckRead(index);
      ++party.done;
      StartStage(setup, index, Stage::kRelease);
      return broken;
    }
    case Stage::kRelease:
      party.await.Reject();  // The next read is of another turn.
      if (party.done >= setup.reads) {
        StartStage(setup, index, leave);
      } else {
        NextRead(setup, index);
      }
      return "";
    case Stage::kClose:
      StartStage(setup, index, Stage::kDetach);
      return "";
    default:
      StartStage(setup, index, Stage::kEnd);
      return "";
  }
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
