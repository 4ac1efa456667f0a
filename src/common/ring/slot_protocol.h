// Who may write and who may read a slot, between processes that can be killed at any instruction.
// Internal to ring/. Pure: each party is a small program whose Step makes exactly one access to the
// shared words, so that a test can try every interleaving of the parties with a death before every
// step, and the product runs the same programs over atomics in shared memory (ring_memory.h).
// Every access is sequentially consistent.
//
// Words of a slot
//   state    {phase, turn}; the turn counts the uses of the slot. Only who holds `writer` stores it.
//   writer   the process that writes or empties the slot: a lock that a living process keeps and
//            that is taken from a dead one. 0: nobody.
//   lease    one word for each consumer: the turn that it reads, or 0.
//
// Rules
//   - A consumer loads Full(turn), stores its lease, and loads the state again: only if that is
//     still Full(turn) it has the lease, else it clears the word. The producer stores
//     Draining(turn), then loads the leases. In any order of these four accesses one of the two
//     sees the other.
//   - A lease of another turn than the state's is void: it is being cleared.
//   - Draining(turn) keeps its payload and takes no new leases. It goes back to Full(turn) when the
//     producer gives up, or is repaired after its death, and on to Writing(turn + 1) when no living
//     process leases it or the leases are revoked.
//   - A slot in Writing is never read. What a dead producer leaves there is not Full; the next
//     producer to want the slot takes the lock and writes it anew.
//   - What may end a wait is followed by an increment of the counter that the waiting party sleeps
//     on; it loads the counter before it looks at what it waits for. Between the change and the
//     increment a process can be killed: sleepers therefore look again from time to time.
#pragma once

#include <compare>
#include <cstdint>

namespace retort::ring {

enum class Word {
  kEpoch,         // Of the newest producer.
  kProducer,      // The process that produces; 0: none.
  kGeneration,    // Grows with every take-over.
  kExported,      // The generation whose device memory may be opened; 0: none.
  kPublications,  // Counter: a slot or the producer has changed. Consumers sleep on it.
  kReleases,      // Counter: a lease or an entry has been given back. Producers sleep on it.
  kOwner,         // consumer: the process of an entry of the consumer table; 0: free.
  kOpened,        // consumer: the generation whose memory the consumer has open; 0: none.
  kState,         // slot
  kWriter,        // slot
  kLease,         // slot, consumer
};

struct WordId {
  Word word;
  int slot = 0;
  int consumer = 0;
  auto operator<=>(const WordId&) const = default;
};

class WordMemory {
 public:
  virtual ~WordMemory() = default;
  virtual uint64_t Load(WordId id) = 0;
  virtual void Store(WordId id, uint64_t value) = 0;
  // Returns what was there; `desired` is stored if that was `expected`.
  virtual uint64_t CompareExchange(WordId id, uint64_t expected, uint64_t desired) = 0;
  virtual void Add(WordId counter) = 0;  // One more; wakes who sleeps on it.
  // Whether the process that a word names has not ended. Once false it stays false.
  virtual bool IsAlive(uint64_t process) = 0;
};

enum class Phase : uint64_t { kEmpty = 0, kWriting = 1, kFull = 2, kDraining = 3 };

// A zero-filled word is Empty(0).
constexpr uint64_t MakeState(Phase phase, uint64_t turn) {
  return (turn << 2) | static_cast<uint64_t>(phase);
}
constexpr Phase PhaseOf(uint64_t state) { return static_cast<Phase>(state & 3); }
constexpr uint64_t TurnOf(uint64_t state) { return state >> 2; }

// True if a payload that was Full(turn) has not been given to a writer.
constexpr bool StillHas(uint64_t state, uint64_t turn) {
  return state == MakeState(Phase::kFull, turn) || state == MakeState(Phase::kDraining, turn);
}

enum class Progress {
  kRunning,  // Step again.
  kWaiting,  // Step again once counter() is no longer seen(), and from time to time.
  kDone,
  kRefused,  // Ended without what it was for; outcome() says why.
};

// A producer takes a slot for writing.
class TakeSlot {
 public:
  enum class Outcome { kNone, kTaken, kFenced, kGaveUp };

  TakeSlot(uint64_t self, uint64_t epoch, int slot, int consumers)
      : self_(self), epoch_(epoch), slot_(slot), consumers_(consumers) {}

  Progress Step(WordMemory& memory);

  // While it waits: what it sleeps on, and the process that holds the slot.
  WordId counter() const { return counter_; }
  uint64_t seen() const { return seen_; }
  uint64_t holder() const { return holder_; }
  bool waits_for_lease() const { return counter_.word == Word::kReleases; }
  // While it waits. Revoke (for leases only) takes the slot all the same; GiveUp leaves it as it
  // was.
  void Revoke() { at_ = At::kMark; }
  void GiveUp();

  Outcome outcome() const { return outcome_; }
  uint64_t turn() const { return turn_; }  // After kTaken: that of the write.
  auto operator<=>(const TakeSlot&) const = default;

 private:
  enum class At {
    kReadPublications,
    kLock,
    kJudgeHolder,
    kSteal,
    kCheckEpoch,
    kLoadState,
    kDrain,
    kReadReleases,
    kScan,
    kLoadOwner,
    kJudgeOwner,
    kClear,
    kMark,
    kRestore,
    kUnlock,
    kAnnounce,
    kEnd
  };
  Progress StepLock(WordMemory& memory);
  Progress StepLeases(WordMemory& memory);
  Progress StepEnd(WordMemory& memory);
  Progress NextLease();

  uint64_t self_, epoch_;
  int slot_, consumers_;
  At at_ = At::kReadPublications;
  Outcome outcome_ = Outcome::kNone;
  WordId counter_{Word::kPublications};
  uint64_t seen_ = 0, holder_ = 0, turn_ = 0;
  uint64_t found_ = 0;  // In `writer`, before it was taken.
  int consumer_ = 0;
};

// A producer publishes the slot that it wrote, or (publish = false) leaves it empty.
class EndWrite {
 public:
  enum class Outcome { kNone, kPublished, kEmptied, kFenced, kLost };  // Lost: not its write.

  EndWrite(uint64_t epoch, int slot, uint64_t turn, bool publish)
      : epoch_(epoch), turn_(turn), slot_(slot), publish_(publish) {}

  Progress Step(WordMemory& memory);
  Outcome outcome() const { return outcome_; }
  auto operator<=>(const EndWrite&) const = default;

 private:
  enum class At { kCheckState, kCheckEpoch, kStore, kUnlock, kAnnounce };

  uint64_t epoch_, turn_;
  int slot_;
  bool publish_;
  At at_ = At::kCheckState;
  Outcome outcome_ = Outcome::kNone;
};

// A consumer waits until a slot is full. No lease: what it found must be looked at again.
class AwaitSlot {
 public:
  enum class Outcome { kNone, kFull, kNoProducer };

  AwaitSlot(int slot, bool await_successor) : slot_(slot), await_successor_(await_successor) {}

  Progress Step(WordMemory& memory);
  // After kDone: that is not what was wanted. Goes on with the wait.
  void Reject() {
    rejected_ = turn_;
    LookForProducer();
  }

  WordId counter() const { return {Word::kPublications}; }
  uint64_t seen() const { return seen_; }
  Outcome outcome() const { return outcome_; }
  uint64_t turn() const { return turn_; }
  auto operator<=>(const AwaitSlot&) const = default;

 private:
  enum class At { kReadPublications, kLoadState, kLoadProducer, kJudge, kLastLook, kWait };
  void LookForProducer() { at_ = await_successor_ ? At::kWait : At::kLoadProducer; }
  Progress Look(WordMemory& memory);

  int slot_;
  bool await_successor_;
  At at_ = At::kReadPublications;
  Outcome outcome_ = Outcome::kNone;
  uint64_t seen_ = 0, turn_ = 0, rejected_ = 0, producer_ = 0;
};

// A consumer leases what AwaitSlot found. kRefused: the slot is no longer that.
class LeaseSlot {
 public:
  LeaseSlot(int consumer, int slot, uint64_t turn)
      : consumer_(consumer), slot_(slot), turn_(turn) {}
  Progress Step(WordMemory& memory);
  auto operator<=>(const LeaseSlot&) const = default;

 private:
  enum class At { kStore, kConfirm, kUndo, kAnnounce };

  int consumer_, slot_;
  uint64_t turn_;
  At at_ = At::kStore;
};

// A consumer gives its lease back.
class ReleaseSlot {
 public:
  ReleaseSlot(int consumer, int slot) : consumer_(consumer), slot_(slot) {}
  Progress Step(WordMemory& memory);
  auto operator<=>(const ReleaseSlot&) const = default;

 private:
  int consumer_, slot_;
  bool cleared_ = false;
};

}  // namespace retort::ring
