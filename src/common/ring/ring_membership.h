// Who produces into a ring, who is in its consumer table, and who has the producer's memory open:
// the programs of slot_protocol.h for what is not a slot's. Internal to ring/.
//
// Rules
//   - A producer raises the epoch, makes itself the producer, and then repairs what a dead one
//     left: Draining becomes Full again, Writing becomes Empty. A slot that a living process of an
//     older epoch is writing is left to it: that process cannot publish any more, and its lock
//     keeps the slot from being written by two.
//   - An entry of a dead consumer is taken by CAS from its identity, which no living process has,
//     and what it held is cleared before the entry is used.
//   - Memory: a consumer says which generation it opens, then checks that this is still exported.
//     The producer withdraws the export, then looks for living consumers that say so. One of the
//     two sees the other, as with leases.
#pragma once

#include <compare>
#include <cstdint>

#include "common/ring/slot_protocol.h"

namespace retort::ring {

// A producer becomes that of the ring. `discard`: what the slots hold ends with the last producer.
class TakeRing {
 public:
  enum class Outcome { kNone, kTaken, kFenced, kRival };  // Rival: a living one of this epoch.

  TakeRing(uint64_t self, uint64_t epoch, int slots, bool discard)
      : self_(self), epoch_(epoch), slots_(slots), discard_(discard) {}

  Progress Step(WordMemory& memory);
  Outcome outcome() const { return outcome_; }
  uint64_t newest_epoch() const { return newest_; }
  uint64_t previous() const { return previous_; }  // The producer before; 0: none.
  uint64_t generation() const { return generation_; }
  auto operator<=>(const TakeRing&) const = default;

 private:
  enum class At {
    kLoadEpoch,
    kLoadProducer,
    kJudgeRival,
    kRaise,
    kClaim,
    kWithdraw,
    kLoadGeneration,
    kRaiseGeneration,
    kLoadWriter,
    kJudgeWriter,
    kLock,
    kLoadState,
    kRepair,
    kUnlock,
    kAnnounce
  };
  Progress StepClaim(WordMemory& memory);
  Progress StepGeneration(WordMemory& memory);
  Progress StepRepair(WordMemory& memory);
  Progress NextSlot();

  uint64_t self_, epoch_;
  int slots_;
  bool discard_;
  At at_ = At::kLoadEpoch;
  Outcome outcome_ = Outcome::kNone;
  bool raised_ = false;
  uint64_t newest_ = 0, previous_ = 0, generation_ = 0, writer_ = 0, repaired_ = 0;
  int slot_ = 0;
};

// A producer ends its generation and waits until no living consumer has its memory open.
class LeaveRing {
 public:
  LeaveRing(uint64_t self, uint64_t generation, int consumers)
      : self_(self), generation_(generation), consumers_(consumers) {}

  Progress Step(WordMemory& memory);
  WordId counter() const { return {Word::kReleases}; }
  uint64_t seen() const { return seen_; }
  uint64_t holder() const { return holder_; }  // While it waits: who has the memory open.
  auto operator<=>(const LeaveRing&) const = default;

 private:
  enum class At { kWithdraw, kLeave, kAnnounce, kReadReleases, kScan, kLoadOwner, kJudge };
  Progress Next();

  uint64_t self_, generation_;
  int consumers_;
  At at_ = At::kWithdraw;
  uint64_t seen_ = 0, holder_ = 0;
  int consumer_ = 0;
};

// A consumer takes an entry of the table. kRefused: living consumers have all of them.
class AttachConsumer {
 public:
  AttachConsumer(uint64_t self, int slots, int consumers)
      : self_(self), slots_(slots), consumers_(consumers) {}

  Progress Step(WordMemory& memory);
  int consumer() const { return consumer_; }
  auto operator<=>(const AttachConsumer&) const = default;

 private:
  enum class At { kLoadOwner, kJudge, kClaim, kClearLease, kClearOpened, kAnnounce };

  uint64_t self_;
  int slots_, consumers_;
  At at_ = At::kLoadOwner;
  uint64_t holder_ = 0;
  int consumer_ = 0, slot_ = 0;
};

// A consumer gives its entry back, and what it still held.
class DetachConsumer {
 public:
  DetachConsumer(int consumer, int slots) : consumer_(consumer), slots_(slots) {}
  Progress Step(WordMemory& memory);
  auto operator<=>(const DetachConsumer&) const = default;

 private:
  enum class At { kClearLease, kClearOpened, kClearOwner, kAnnounce };

  int consumer_, slots_;
  At at_ = At::kClearLease;
  int slot_ = 0;
};

// A consumer is about to open the memory of `generation`. kRefused: that is no longer exported.
class DeclareOpen {
 public:
  DeclareOpen(int consumer, uint64_t generation) : consumer_(consumer), generation_(generation) {}
  Progress Step(WordMemory& memory);
  auto operator<=>(const DeclareOpen&) const = default;

 private:
  enum class At { kStore, kConfirm, kUndo, kAnnounce };

  int consumer_;
  uint64_t generation_;
  At at_ = At::kStore;
};

// A consumer has closed the memory.
class DeclareClosed {
 public:
  explicit DeclareClosed(int consumer) : consumer_(consumer) {}
  Progress Step(WordMemory& memory);
  auto operator<=>(const DeclareClosed&) const = default;

 private:
  int consumer_;
  bool cleared_ = false;
};

}  // namespace retort::ring
