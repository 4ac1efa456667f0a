// A model of processes that share a ring of one slot: the programs of the product over words in
// memory, one access at a time, so that a test can try every order of them and a death before every
// access. Checks the protocol's promises after each.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/ring/ring_membership.h"
#include "common/ring/slot_protocol.h"

namespace retort::ring::model {

inline constexpr int kMaxParties = 3;
inline constexpr int kMaxConsumers = 2;
inline constexpr int kMaxTurns = 8;
inline constexpr int kMaxGenerations = 4;

enum class Patience {
  kEndless,  // A producer waits until the slot is free: every wait must end by itself.
  kGiveUp,   // It may give up at any moment at which it waits.
  kRevoke,   // It may revoke the leases then.
};

struct Setup {
  int producers = 1;
  int consumers = 1;
  int writes = 2;  // Of each producer.
  int reads = 2;   // At most, of each consumer.
  int kills = 1;   // At most, in all.
  Patience patience = Patience::kEndless;
  bool device = false;   // The payload is the producer's and is freed at its end.
  bool overlap = false;  // A second producer starts while the first lives.
  bool stay = false;     // A producer lives on after its writes and does nothing.
  bool joined = true;    // The consumers are in the table from the beginning.
  bool await_successor = false;
};

// A producer's or a consumer's life. A value: copied for every branch.
struct Party {
  enum class Stage {
    kTakeRing,
    kExport,
    kTakeSlot,
    kWriteFirst,
    kWriteSecond,
    kEndWrite,
    kLeave,
    kFree,
    kAttach,
    kAwait,
    kCloseStale,
    kLease,
    kOpen,
    kReadFirst,
    kReadSecond,
    kCheck,
    kRelease,
    kClose,
    kDetach,
    kEnd
  };
  using Program =
      std::variant<std::monostate, TakeRing, TakeSlot, EndWrite, LeaveRing, AttachConsumer,
                   LeaseSlot, ReleaseSlot, DetachConsumer, DeclareOpen, DeclareClosed>;

  bool producer = false;
  bool alive = true;
  bool waiting = false;
  Stage stage = Stage::kEnd;
  Program program;
  AwaitSlot await{0, false};
  WordId counter{Word::kPublications};
  uint64_t epoch = 0, generation = 0, turn = 0;
  int entry = -1, done = 0;
  bool has_lease = false;  // From LeaseSlot's end until ReleaseSlot begins.
  uint64_t opened = 0;     // Generation whose memory it has open.
  std::array<int, 2> read = {0, 0};
  auto operator<=>(const Party&) const = default;
};

class World : public WordMemory {
 public:
  explicit World(const Setup& setup);

  // What can happen next: a step of a party, its time-out, its death.
  struct Action {
    enum class Kind { kStep, kTimeOut, kKill } kind;
    int party;
  };
  std::vector<Action> Actions(const Setup& setup) const;
  // Empty, or which promise the action broke.
  std::string Do(const Setup& setup, const Action& action);
  // Of a world without actions: empty, or what is wrong with how it ended.
  std::string AtEnd(const Setup& setup) const;
  std::string Describe() const;

  uint64_t Load(WordId id) override;
  void Store(WordId id, uint64_t value) override { words_[IndexOf(id)] = value; }
  uint64_t CompareExchange(WordId id, uint64_t expected, uint64_t desired) override;
  void Add(WordId counter) override;
  bool IsAlive(uint64_t process) override { return parties_[process - 1].alive; }

  std::strong_ordering operator<=>(const World& other) const;

 private:
  static size_t IndexOf(WordId id);
  uint64_t Word0(WordId id) const { return words_[IndexOf(id)]; }
  bool SomeProducerLives() const;
  void StartStage(const Setup& setup, int index, Party::Stage stage);
  std::string Step(const Setup& setup, int index);
  Progress StepProgram(Party& party);
  std::string ProducerDone(const Setup& setup, int index, Progress progress);
  std::string ConsumerDone(const Setup& setup, int index, Progress progress);
  std::string TakeDone(const Setup& setup, int index, bool ok);
  std::string FreeMemory(const Setup& setup, int index);
  void NextRead(const Setup& setup, int index);
  void Leave(const Setup& setup, int index);
  std::string AwaitDone(const Setup& setup, int index, bool ok);
  void LeaseDone(const Setup& setup, int index, bool ok);
  std::string ReadPart(const Setup& setup, int index, size_t part);
  std::string CheckEntry(int index) const;
  std::string WritePart(const Setup& setup, int index, size_t part);
  std::string CheckRead(int index) const;
  std::string CheckSlot(const Setup& setup) const;
  std::array<int, 2>& PayloadOf(const Setup& setup, uint64_t generation) {
    return payload_[setup.device ? generation : 0];
  }

  std::array<uint64_t, 16> words_ = {};
  std::array<Party, kMaxParties> parties_;
  std::array<std::array<int, 2>, kMaxGenerations> payload_ = {};
  std::array<bool, kMaxGenerations> freed_ = {};
  std::array<int, kMaxTurns> value_of_turn_ = {};  // What the turn's writer writes.
  std::array<uint64_t, kMaxTurns> generation_of_turn_ = {};
  // A counter is only compared with what a party has seen of it: whether it has moved since.
  std::array<std::array<bool, 2>, kMaxParties> moved_ = {};
  int current_ = 0;  // The party that steps.
  int parties_count_ = 0;
  int kills_ = 0;
};

}  // namespace retort::ring::model
