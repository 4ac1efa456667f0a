// Generation step by step, for many requests at once: continuous batching over a paged KV cache.
// Requests are added and cancelled between steps; a step feeds every active sample's next tokens
// in one forward and draws one token for each. A sample's tokens and log-probs are a function of
// the model, its prompt, its options and its random stream: on the CPU bitwise, whatever shares the
// batch, however large the batch is and however many threads compute it. On another device their
// last bits depend on what shares a step, and the same calls give the same bits again.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/model/block_pool.h"
#include "common/model/decoder.h"
#include "common/model/generation.h"
#include "common/model/model.h"

namespace retort::model {

struct EngineOptions {
  int64_t max_batch = 64;             // Samples decoded at once.
  int64_t max_prefill_tokens = 4096;  // Prompt tokens that enter one forward; long prompts take
                                      // several.
  int64_t kv_blocks = 1024;  // Blocks of kBlockTokens positions; memory is touched on first use, on
                             // another device than the CPU at once.
};

// Several samples of one prompt, which is prefilled once.
struct EngineRequest {
  std::vector<int64_t> prompt;
  SamplingOptions sampling;
  std::vector<CounterRng> streams;  // One a sample; a token draws one NextUniform().
  StopCheck stop;                   // May be null.
};

using RequestId = int64_t;

// One token that a step drew.
struct TokenEvent {
  RequestId request = 0;
  int64_t sample = 0;
  int64_t id = 0;  // -1: none, the sample failed.
  FinishReason reason = FinishReason::kNone;
};

// Not thread-safe. The model must outlive it and its weights may not change while requests are
// active.
class Engine {
 public:
  // INVALID_ARGUMENT options out of range; RESOURCE_EXHAUSTED no memory.
  static absl::StatusOr<std::unique_ptr<Engine>> Make(const Model& model,
                                                      const EngineOptions& options);
  ~Engine();

  // Puts a request at the end of the queue. Requests start in this order. Errors: INVALID_ARGUMENT
  // an option out of range, no sample, an empty prompt, an id outside the vocabulary, or prompt +
  // max_new_tokens beyond the model's positions; RESOURCE_EXHAUSTED the cache could not hold one
  // sample of it even if it were empty.
  absl::StatusOr<RequestId> Add(EngineRequest request);

  // One forward and one token for every active sample; the events are in the order of the requests,
  // then of their samples. Empty only if nothing is to be done, or prompts were prefilled in part.
  // A sample whose logits are not finite, or whose filter leaves no token, ends with kFailed, and
  // its request with it. Errors: what CatchTorch gives, after which the engine must not be used.
  absl::StatusOr<std::vector<TokenEvent>> Step();

  // Whether a Step has anything to do.
  bool idle() const { return groups_.empty(); }

  // The samples of a request of which every sample has finished, which is then forgotten. Errors:
  // FAILED_PRECONDITION it goes on; INTERNAL it failed; NOT_FOUND no such request.
  absl::StatusOr<std::vector<GeneratedSample>> TakeResults(RequestId id);
  // What a sample of a request that was not taken yet has so far; null if there is none.
  const GeneratedSample* Peek(RequestId id, int64_t sample) const;

  // Forgets a request, finished or not; its memory is free for others at once. False: no such one.
  bool Cancel(RequestId id);

  int64_t free_blocks() const { return pool_.free_blocks(); }

  // Blocks that one sample needs which shares its prompt with none.
  static int64_t BlocksOfOne(int64_t prompt_tokens, int64_t new_tokens);
  // The most that BlocksOfOne is of, for prompt and sample of `context` tokens together.
  static int64_t MostBlocksOfOne(int64_t context);

 private:
  struct Group;
  struct Lane;

  Engine(const Model& model, const EngineOptions& options);

  void Admit();
  bool StartNextSample(Group* group);
  void FeedPrompts();
  void FeedLanes();
  std::vector<TokenEvent> DrawTokens();
  RowDraw DrawOf(Lane* lane, const float* hidden) const;
  static void Append(const DrawnToken& token, Lane* lane);
  FinishReason ReasonOf(const Lane& lane) const;
  std::vector<TokenEvent> Finish(absl::Span<Lane* const> lanes, absl::Span<const RowDraw> draws);
  void Retire();

  const Model& model_;
  const EngineOptions options_;
  BlockPool pool_;
  Decoder decoder_;
  RequestId next_id_ = 1;
  std::deque<std::unique_ptr<Group>> groups_;    // Unfinished, in the order of Add.
  std::vector<std::unique_ptr<Group>> results_;  // Finished, not taken.
  std::vector<std::unique_ptr<Lane>> lanes_;     // Active samples, in the order of their start.
  DecoderRows rows_;
  std::vector<Group*> fed_;  // Whose prompt's last token is in rows_, in the order of wanted.
};

}  // namespace retort::model
