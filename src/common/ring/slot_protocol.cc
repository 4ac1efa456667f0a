#include "common/ring/slot_protocol.h"

namespace retort::ring {

Progress TakeSlot::Step(WordMemory& memory) {
  if (at_ < At::kDrain) return StepLock(memory);
  if (at_ < At::kMark) return StepLeases(memory);
  return StepEnd(memory);
}

Progress TakeSlot::StepLock(WordMemory& memory) {
  const WordId writer{Word::kWriter, slot_};
  switch (at_) {
    case At::kReadPublications:
      counter_ = {Word::kPublications};
      seen_ = memory.Load(counter_);
      at_ = At::kLock;
      return Progress::kRunning;
    case At::kLock:
      holder_ = found_ = memory.CompareExchange(writer, 0, self_);
      // Its own lock: left by an earlier write of this process that was not ended.
      at_ = holder_ == 0 || holder_ == self_ ? At::kCheckEpoch : At::kJudgeHolder;
      return Progress::kRunning;
    case At::kJudgeHolder:
      if (memory.IsAlive(holder_)) {
        at_ = At::kReadPublications;
        return Progress::kWaiting;
      }
      at_ = At::kSteal;
      return Progress::kRunning;
    case At::kSteal:
      at_ = memory.CompareExchange(writer, holder_, self_) == holder_ ? At::kCheckEpoch
                                                                      : At::kReadPublications;
      return Progress::kRunning;
    case At::kCheckEpoch:
      if (memory.Load({Word::kEpoch}) > epoch_) {
        outcome_ = Outcome::kFenced;
        at_ = At::kUnlock;
      } else {
        at_ = At::kLoadState;
      }
      return Progress::kRunning;
    default: {
      const uint64_t state = memory.Load({Word::kState, slot_});
      turn_ = TurnOf(state);
      const Phase phase = PhaseOf(state);
      at_ = phase == Phase::kFull       ? At::kDrain
            : phase == Phase::kDraining ? At::kReadReleases  // A dead producer was at it.
                                        : At::kMark;
      return Progress::kRunning;
    }
  }
}

Progress TakeSlot::StepLeases(WordMemory& memory) {
  const WordId lease{Word::kLease, slot_, consumer_};
  switch (at_) {
    case At::kDrain:
      memory.Store({Word::kState, slot_}, MakeState(Phase::kDraining, turn_));
      at_ = At::kReadReleases;
      return Progress::kRunning;
    case At::kReadReleases:
      counter_ = {Word::kReleases};
      seen_ = memory.Load(counter_);
      at_ = consumer_ < consumers_ ? At::kScan : At::kMark;
      return Progress::kRunning;
    case At::kScan:
      if (memory.Load(lease) != turn_) return NextLease();
      at_ = At::kLoadOwner;
      return Progress::kRunning;
    case At::kLoadOwner:
      holder_ = memory.Load({Word::kOwner, 0, consumer_});
      at_ = holder_ == 0 ? At::kClear : At::kJudgeOwner;
      return Progress::kRunning;
    case At::kJudgeOwner:
      if (memory.IsAlive(holder_)) {
        at_ = At::kReadReleases;  // Looks at this lease again; those before it are done.
        return Progress::kWaiting;
      }
      at_ = At::kClear;
      return Progress::kRunning;
    default:
      // Only a lease of this turn: the entry may have a new owner, whose lease is another turn's.
      memory.CompareExchange(lease, turn_, 0);
      return NextLease();
  }
}

Progress TakeSlot::NextLease() {
  at_ = ++consumer_ < consumers_ ? At::kScan : At::kMark;
  return Progress::kRunning;
}

void TakeSlot::GiveUp() {
  outcome_ = Outcome::kGaveUp;
  at_ = waits_for_lease() ? At::kRestore : At::kEnd;
}

Progress TakeSlot::StepEnd(WordMemory& memory) {
  switch (at_) {
    case At::kMark:
      memory.Store({Word::kState, slot_}, MakeState(Phase::kWriting, ++turn_));
      outcome_ = Outcome::kTaken;
      return Progress::kDone;
    case At::kRestore:
      memory.Store({Word::kState, slot_}, MakeState(Phase::kFull, turn_));
      at_ = At::kUnlock;
      return Progress::kRunning;
    case At::kUnlock:
      // Refused by the epoch, it leaves the slot to its successor as it found it: one that a dead
      // producer has half done must stay known for that.
      memory.Store({Word::kWriter, slot_}, outcome_ == Outcome::kFenced ? found_ : 0);
      at_ = At::kAnnounce;
      return Progress::kRunning;
    case At::kAnnounce:
      memory.Add({Word::kPublications});
      return Progress::kRefused;
    default:
      return Progress::kRefused;
  }
}

Progress EndWrite::Step(WordMemory& memory) {
  const WordId state{Word::kState, slot_};
  switch (at_) {
    case At::kCheckState:
      if (memory.Load(state) != MakeState(Phase::kWriting, turn_)) {
        outcome_ = Outcome::kLost;
        return Progress::kRefused;
      }
      outcome_ = publish_ ? Outcome::kPublished : Outcome::kEmptied;
      at_ = publish_ ? At::kCheckEpoch : At::kStore;
      return Progress::kRunning;
    case At::kCheckEpoch:
      if (memory.Load({Word::kEpoch}) > epoch_) outcome_ = Outcome::kFenced;
      at_ = At::kStore;
      return Progress::kRunning;
    case At::kStore:
      memory.Store(
          state, MakeState(outcome_ == Outcome::kPublished ? Phase::kFull : Phase::kEmpty, turn_));
      at_ = At::kUnlock;
      return Progress::kRunning;
    case At::kUnlock:
      memory.Store({Word::kWriter, slot_}, 0);
      at_ = At::kAnnounce;
      return Progress::kRunning;
    case At::kAnnounce:
      memory.Add({Word::kPublications});
      return outcome_ == Outcome::kFenced ? Progress::kRefused : Progress::kDone;
  }
  return Progress::kRefused;
}

// kRunning: not full.
Progress AwaitSlot::Look(WordMemory& memory) {
  const uint64_t state = memory.Load({Word::kState, slot_});
  if (PhaseOf(state) != Phase::kFull || TurnOf(state) == rejected_) return Progress::kRunning;
  turn_ = TurnOf(state);
  outcome_ = Outcome::kFull;
  return Progress::kDone;
}

Progress AwaitSlot::Step(WordMemory& memory) {
  switch (at_) {
    case At::kReadPublications:
      seen_ = memory.Load(counter());
      at_ = At::kLoadState;
      return Progress::kRunning;
    case At::kLoadState:
      if (Look(memory) == Progress::kDone) return Progress::kDone;
      LookForProducer();
      if (at_ != At::kWait) return Progress::kRunning;
      break;
    case At::kLoadProducer:
      producer_ = memory.Load({Word::kProducer});
      at_ = producer_ == 0 ? At::kLastLook : At::kJudge;
      return Progress::kRunning;
    case At::kJudge:
      if (memory.IsAlive(producer_)) break;
      at_ = At::kLastLook;
      return Progress::kRunning;
    case At::kLastLook:  // It may have published the slot before it ended.
      if (Look(memory) == Progress::kDone) return Progress::kDone;
      outcome_ = Outcome::kNoProducer;
      return Progress::kRefused;
    case At::kWait:
      break;
  }
  at_ = At::kReadPublications;
  return Progress::kWaiting;
}

Progress LeaseSlot::Step(WordMemory& memory) {
  const WordId lease{Word::kLease, slot_, consumer_};
  switch (at_) {
    case At::kStore:
      memory.Store(lease, turn_);
      at_ = At::kConfirm;
      return Progress::kRunning;
    case At::kConfirm:
      if (memory.Load({Word::kState, slot_}) == MakeState(Phase::kFull, turn_)) {
        return Progress::kDone;
      }
      at_ = At::kUndo;
      return Progress::kRunning;
    case At::kUndo:
      memory.Store(lease, 0);
      at_ = At::kAnnounce;
      return Progress::kRunning;
    case At::kAnnounce:
      memory.Add({Word::kReleases});
      return Progress::kRefused;
  }
  return Progress::kRefused;
}

Progress ReleaseSlot::Step(WordMemory& memory) {
  if (!cleared_) {
    memory.Store({Word::kLease, slot_, consumer_}, 0);
    cleared_ = true;
    return Progress::kRunning;
  }
  memory.Add({Word::kReleases});
  return Progress::kDone;
}

}  // namespace retort::ring
