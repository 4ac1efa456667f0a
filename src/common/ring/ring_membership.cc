#include "common/ring/ring_membership.h"

namespace retort::ring {

Progress TakeRing::Step(WordMemory& memory) {
  return at_ < At::kLoadWriter ? StepClaim(memory) : StepRepair(memory);
}

Progress TakeRing::StepClaim(WordMemory& memory) {
  switch (at_) {
    case At::kLoadEpoch:
      newest_ = memory.Load({Word::kEpoch});
      if (newest_ > epoch_) {
        outcome_ = Outcome::kFenced;
        return Progress::kRefused;
      }
      at_ = At::kLoadProducer;
      return Progress::kRunning;
    case At::kLoadProducer: {
      previous_ = memory.Load({Word::kProducer});
      // Who raised the epoch itself meets there only producers of older ones.
      const bool may_be_rival =
          newest_ == epoch_ && !raised_ && previous_ != 0 && previous_ != self_;
      at_ = may_be_rival ? At::kJudgeRival : newest_ < epoch_ ? At::kRaise : At::kClaim;
      return Progress::kRunning;
    }
    case At::kJudgeRival:
      if (memory.IsAlive(previous_)) {
        outcome_ = Outcome::kRival;
        return Progress::kRefused;
      }
      at_ = At::kClaim;
      return Progress::kRunning;
    case At::kRaise:
      raised_ = memory.CompareExchange({Word::kEpoch}, newest_, epoch_) == newest_;
      at_ = raised_ ? At::kClaim : At::kLoadEpoch;
      return Progress::kRunning;
    case At::kClaim: {
      const bool claimed = memory.CompareExchange({Word::kProducer}, previous_, self_) == previous_;
      at_ = claimed ? At::kWithdraw : At::kLoadEpoch;
      return Progress::kRunning;
    }
    default:
      return StepGeneration(memory);
  }
}

// What the last producer exported ends here.
Progress TakeRing::StepGeneration(WordMemory& memory) {
  switch (at_) {
    case At::kWithdraw:
      memory.Store({Word::kExported}, 0);
      at_ = At::kLoadGeneration;
      return Progress::kRunning;
    case At::kLoadGeneration:
      generation_ = memory.Load({Word::kGeneration});
      at_ = At::kRaiseGeneration;
      return Progress::kRunning;
    default: {
      const bool raised =
          memory.CompareExchange({Word::kGeneration}, generation_, generation_ + 1) == generation_;
      if (raised) ++generation_;
      at_ = raised ? At::kLoadWriter : At::kLoadGeneration;
      return Progress::kRunning;
    }
  }
}

Progress TakeRing::StepRepair(WordMemory& memory) {
  const WordId writer{Word::kWriter, slot_};
  switch (at_) {
    case At::kLoadWriter:
      writer_ = memory.Load(writer);
      if (writer_ == 0 && !discard_) return NextSlot();  // Nobody left it half done.
      at_ = writer_ == 0 || writer_ == self_ ? At::kLock : At::kJudgeWriter;
      return Progress::kRunning;
    case At::kJudgeWriter:
      if (memory.IsAlive(writer_)) return NextSlot();
      at_ = At::kLock;
      return Progress::kRunning;
    case At::kLock:
      at_ = memory.CompareExchange(writer, writer_, self_) == writer_ ? At::kLoadState
                                                                      : At::kLoadWriter;
      return Progress::kRunning;
    case At::kLoadState: {
      const uint64_t state = memory.Load({Word::kState, slot_});
      const bool keep = StillHas(state, TurnOf(state)) && !discard_;
      repaired_ = MakeState(keep ? Phase::kFull : Phase::kEmpty, TurnOf(state));
      at_ = At::kRepair;
      return Progress::kRunning;
    }
    case At::kRepair:
      memory.Store({Word::kState, slot_}, repaired_);
      at_ = At::kUnlock;
      return Progress::kRunning;
    case At::kUnlock:
      memory.Store(writer, 0);
      return NextSlot();
    default:
      memory.Add({Word::kPublications});
      outcome_ = Outcome::kTaken;
      return Progress::kDone;
  }
}

Progress TakeRing::NextSlot() {
  at_ = ++slot_ < slots_ ? At::kLoadWriter : At::kAnnounce;
  return Progress::kRunning;
}

Progress LeaveRing::Step(WordMemory& memory) {
  switch (at_) {
    case At::kWithdraw:
      memory.CompareExchange({Word::kExported}, generation_, 0);
      at_ = At::kLeave;
      return Progress::kRunning;
    case At::kLeave:
      memory.CompareExchange({Word::kProducer}, self_, 0);
      at_ = At::kAnnounce;
      return Progress::kRunning;
    case At::kAnnounce:
      memory.Add({Word::kPublications});
      at_ = At::kReadReleases;
      return Progress::kRunning;
    case At::kReadReleases:
      seen_ = memory.Load(counter());
      if (consumer_ == consumers_) return Progress::kDone;
      at_ = At::kScan;
      return Progress::kRunning;
    case At::kScan:
      if (memory.Load({Word::kOpened, 0, consumer_}) != generation_) return Next();
      at_ = At::kLoadOwner;
      return Progress::kRunning;
    case At::kLoadOwner:
      holder_ = memory.Load({Word::kOwner, 0, consumer_});
      if (holder_ == 0) return Next();
      at_ = At::kJudge;
      return Progress::kRunning;
    case At::kJudge:
      if (!memory.IsAlive(holder_)) return Next();
      at_ = At::kReadReleases;
      return Progress::kWaiting;
  }
  return Progress::kDone;
}

Progress LeaveRing::Next() {
  at_ = At::kScan;
  return ++consumer_ < consumers_ ? Progress::kRunning : Progress::kDone;
}

Progress AttachConsumer::Step(WordMemory& memory) {
  const WordId owner{Word::kOwner, 0, consumer_};
  switch (at_) {
    case At::kLoadOwner:
      if (consumer_ == consumers_) return Progress::kRefused;
      holder_ = memory.Load(owner);
      at_ = holder_ == 0 ? At::kClaim : At::kJudge;
      return Progress::kRunning;
    case At::kJudge:
      if (memory.IsAlive(holder_)) {
        ++consumer_;
        at_ = At::kLoadOwner;
      } else {
        at_ = At::kClaim;
      }
      return Progress::kRunning;
    case At::kClaim: {
      const bool claimed = memory.CompareExchange(owner, holder_, self_) == holder_;
      at_ = claimed ? At::kClearLease : At::kLoadOwner;
      return Progress::kRunning;
    }
    case At::kClearLease:
      memory.Store({Word::kLease, slot_, consumer_}, 0);
      if (++slot_ == slots_) at_ = At::kClearOpened;
      return Progress::kRunning;
    case At::kClearOpened:
      memory.Store({Word::kOpened, 0, consumer_}, 0);
      at_ = At::kAnnounce;
      return Progress::kRunning;
    case At::kAnnounce:
      memory.Add({Word::kReleases});
      return Progress::kDone;
  }
  return Progress::kRefused;
}

Progress DetachConsumer::Step(WordMemory& memory) {
  switch (at_) {
    case At::kClearLease:
      memory.Store({Word::kLease, slot_, consumer_}, 0);
      if (++slot_ == slots_) at_ = At::kClearOpened;
      return Progress::kRunning;
    case At::kClearOpened:
      memory.Store({Word::kOpened, 0, consumer_}, 0);
      at_ = At::kClearOwner;
      return Progress::kRunning;
    case At::kClearOwner:
      memory.Store({Word::kOwner, 0, consumer_}, 0);
      at_ = At::kAnnounce;
      return Progress::kRunning;
    case At::kAnnounce:
      memory.Add({Word::kReleases});
      return Progress::kDone;
  }
  return Progress::kRefused;
}

Progress DeclareOpen::Step(WordMemory& memory) {
  const WordId opened{Word::kOpened, 0, consumer_};
  switch (at_) {
    case At::kStore:
      memory.Store(opened, generation_);
      at_ = At::kConfirm;
      return Progress::kRunning;
    case At::kConfirm:
      if (memory.Load({Word::kExported}) == generation_) return Progress::kDone;
      at_ = At::kUndo;
      return Progress::kRunning;
    case At::kUndo:
      memory.Store(opened, 0);
      at_ = At::kAnnounce;
      return Progress::kRunning;
    case At::kAnnounce:
      memory.Add({Word::kReleases});
      return Progress::kRefused;
  }
  return Progress::kRefused;
}

Progress DeclareClosed::Step(WordMemory& memory) {
  if (!cleared_) {
    memory.Store({Word::kOpened, 0, consumer_}, 0);
    cleared_ = true;
    return Progress::kRunning;
  }
  memory.Add({Word::kReleases});
  return Progress::kDone;
}

}  // namespace retort::ring
