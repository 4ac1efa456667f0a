// What each party of the model does at its next step.
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "common/ring/ring_model.h"

namespace retort::ring::model {
namespace {

using Stage = Party::Stage;

bool IsPlain(Stage stage) {  // One access to the payload or the memory, no program.
  return stage == Stage::kWriteFirst || stage == Stage::kWriteSecond || stage == Stage::kFree ||
         stage == Stage::kExport || stage == Stage::kReadFirst || stage == Stage::kReadSecond ||
         stage == Stage::kCheck;
}

}  // namespace

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
    progress = StepProgram(party);
  }
  party.waiting = progress == Progress::kWaiting;
  if (progress == Progress::kRunning || party.waiting) return "";
  return party.producer ? ProducerDone(setup, index, progress)
                        : ConsumerDone(setup, index, progress);
}

Progress World::StepProgram(Party& party) {
  const auto step = [&](auto& program) {
    if constexpr (std::is_same_v<std::decay_t<decltype(program)>, std::monostate>) {
      return Progress::kDone;
    } else {
      return program.Step(*this);
    }
  };
  const Progress progress = std::visit(step, party.program);
  if (const auto* take = std::get_if<TakeSlot>(&party.program)) party.counter = take->counter();
  if (const auto* leave = std::get_if<LeaveRing>(&party.program)) party.counter = leave->counter();
  return progress;
}

std::string World::ProducerDone(const Setup& setup, int index, Progress progress) {
  Party& party = parties_[index];
  const bool ok = progress == Progress::kDone;
  switch (party.stage) {
    case Stage::kTakeRing:
      if (!ok && !setup.overlap) return "a producer was refused though it is alone";
      party.generation = std::get<TakeRing>(party.program).generation();
      StartStage(setup, index,
                 !ok            ? Stage::kEnd
                 : setup.device ? Stage::kExport
                                : Stage::kTakeSlot);
      return "";
    case Stage::kExport: {
      const bool ours = CompareExchange({Word::kExported}, 0, party.generation) == 0;
      StartStage(setup, index, ours ? Stage::kTakeSlot : Stage::kLeave);
      return "";
    }
    case Stage::kTakeSlot:
      return TakeDone(setup, index, ok);
    case Stage::kWriteFirst:
    case Stage::kWriteSecond: {
      const bool first = party.stage == Stage::kWriteFirst;
      std::string broken = WritePart(setup, index, first ? 0 : 1);
      StartStage(setup, index, first ? Stage::kWriteSecond : Stage::kEndWrite);
      return broken;
    }
    case Stage::kEndWrite: {
      if (!ok && !setup.overlap) return "a write was lost though its producer is alone";
      const bool more = ok && ++party.done < setup.writes;
      StartStage(setup, index, more ? Stage::kTakeSlot : setup.stay ? Stage::kEnd : Stage::kLeave);
      return "";
    }
    case Stage::kLeave:
      StartStage(setup, index, setup.device ? Stage::kFree : Stage::kEnd);
      return "";
    default:
      return FreeMemory(setup, index);
  }
}

std::string World::TakeDone(const Setup& setup, int index, bool ok) {
  Party& party = parties_[index];
  const TakeSlot take = std::get<TakeSlot>(party.program);
  if (!ok) {
    StartStage(setup, index, Stage::kLeave);
    const bool fenced = take.outcome() == TakeSlot::Outcome::kFenced;
    return fenced && !setup.overlap ? "a producer was fenced though it is alone" : "";
  }
  party.turn = take.turn();
  value_of_turn_[party.turn] = (index + 1) * 100 + static_cast<int>(party.turn);
  generation_of_turn_[party.turn] = party.generation;
  StartStage(setup, index, Stage::kWriteFirst);
  return "";
}

std::string World::FreeMemory(const Setup& setup, int index) {
  const uint64_t generation = parties_[index].generation;
  freed_[generation] = true;
  StartStage(setup, index, Stage::kEnd);
  for (int i = 0; i < parties_count_; ++i) {
    if (parties_[i].alive && parties_[i].opened == generation) {
      return absl::StrCat("freed memory that party ", i, " has open");
    }
  }
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
  switch (party.stage) {
    case Stage::kAttach:
      if (!ok) return "no entry of the table was free";
      party.entry = std::get<AttachConsumer>(party.program).consumer();
      StartStage(setup, index, Stage::kAwait);
      return CheckEntry(index);
    case Stage::kAwait:
      return AwaitDone(setup, index, ok);
    case Stage::kLease:
    case Stage::kOpen:
      LeaseDone(setup, index, ok);
      return "";
    case Stage::kReadFirst:
    case Stage::kReadSecond:
      return ReadPart(setup, index, party.stage == Stage::kReadFirst ? 0 : 1);
    case Stage::kCheck: {
      std::string broken = CheckRead(index);
      ++party.done;
      StartStage(setup, index, Stage::kRelease);
      return broken;
    }
    case Stage::kRelease:
      party.await.Reject();  // The next read is of another turn.
      if (party.done >= setup.reads) {
        Leave(setup, index);
      } else {
        NextRead(setup, index);
      }
      return "";
    case Stage::kCloseStale:
      StartStage(setup, index, Stage::kAwait);
      return "";
    case Stage::kClose:
      StartStage(setup, index, Stage::kDetach);
      return "";
    default:
      StartStage(setup, index, Stage::kEnd);
      return "";
  }
}

void World::Leave(const Setup& setup, int index) {
  StartStage(setup, index, parties_[index].opened != 0 ? Stage::kClose : Stage::kDetach);
}

std::string World::AwaitDone(const Setup& setup, int index, bool ok) {
  Party& party = parties_[index];
  if (ok) {
    party.turn = party.await.turn();
    StartStage(setup, index, Stage::kLease);
    return "";
  }
  const bool there = PhaseOf(Word0({Word::kState})) == Phase::kFull && !setup.device;
  const bool missed =
      party.done == 0 && there && setup.producers == 1 && parties_[0].stage == Stage::kEnd;
  Leave(setup, index);
  return missed ? "a consumer missed what the producer published before it ended" : "";
}

void World::LeaseDone(const Setup& setup, int index, bool ok) {
  Party& party = parties_[index];
  const uint64_t generation = generation_of_turn_[party.turn];
  if (party.stage == Stage::kLease && !ok) {
    NextRead(setup, index);
  } else if (party.stage == Stage::kLease) {
    party.has_lease = true;
    const bool opens = setup.device && party.opened != generation;
    if (opens) party.opened = 0;  // The reads of another generation are over: no lease is out.
    StartStage(setup, index, opens ? Stage::kOpen : Stage::kReadFirst);
  } else if (ok) {
    party.opened = generation;
    StartStage(setup, index, Stage::kReadFirst);
  } else {
    party.done = setup.reads;  // UNAVAILABLE.
    StartStage(setup, index, Stage::kRelease);
  }
}

std::string World::ReadPart(const Setup& setup, int index, size_t part) {
  Party& party = parties_[index];
  const uint64_t generation = generation_of_turn_[party.turn];
  if (setup.device && freed_[generation]) return "read memory that was freed";
  party.read[part] = PayloadOf(setup, generation)[part];
  StartStage(setup, index, part == 0 ? Stage::kReadSecond : Stage::kCheck);
  return "";
}

std::string World::CheckEntry(int index) const {
  for (int i = 0; i < parties_count_; ++i) {
    const Party& other = parties_[i];
    const bool has_entry = other.stage != Stage::kAttach && other.stage != Stage::kDetach &&
                           other.stage != Stage::kEnd;
    if (i != index && other.alive && has_entry && other.entry == parties_[index].entry) {
      return "two living consumers have one entry";
    }
  }
  return "";
}

}  // namespace retort::ring::model
