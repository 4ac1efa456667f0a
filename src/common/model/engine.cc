#include "common/model/engine.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tensor/aten.h"
#include "common/tensor/torch_process.h"

namespace retort::model {
namespace {

absl::Status CheckPrompt(const layout::ModelConfig& config, const EngineRequest& request) {
  if (request.prompt.empty()) {
    return absl::InvalidArgumentError("the prompt is empty; expected at least one token");
  }
  for (const int64_t id : request.prompt) {
    if (id < 0 || id >= config.vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("the prompt holds id ", id, "; the model has ", config.vocab_size));
    }
  }
  const int64_t length = static_cast<int64_t>(request.prompt.size());
  if (length > config.max_position_embeddings - request.sampling.max_new_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the prompt of ", length, " tokens and max_new_tokens ", request.sampling.max_new_tokens,
        " exceed the model's max_position_embeddings ", config.max_position_embeddings));
  }
  if (request.streams.empty()) {
    return absl::InvalidArgumentError("the request wants no sample; expected at least one");
  }
  return absl::OkStatus();
}

// What is left of the options when the largest logit is taken anyway.
FilterOptions EffectiveFilter(const SamplingOptions& sampling) {
  FilterOptions filter = sampling.filter;
  filter.eos_ids = sampling.eos_ids;
  if (sampling.greedy) {
    filter.top_k = 0;
    filter.top_p = 1.0;
    filter.min_p = 0.0;
  }
  return filter;
}

}  // namespace

struct Engine::Group {
  RequestId id = 0;
  EngineRequest request;
  FilterOptions filter;
  VocabMask mask;
  std::vector<GeneratedSample> results;
  absl::Status status;                  // Why the request failed.
  std::optional<BlockSequence> prompt;  // Held from admission until every sample has started.
  std::vector<float> last_hidden;       // Of the prompt's last token; empty until it is prefilled.
  int64_t started = 0;                  // Samples that have a lane or had one.
  int64_t finished = 0;

  int64_t prompt_length() const { return static_cast<int64_t>(request.prompt.size()); }
  int64_t capacity() const { return prompt_length() + request.sampling.max_new_tokens; }
  int64_t samples() const { return static_cast<int64_t>(request.streams.size()); }
  bool prefilled() const { return !last_hidden.empty(); }
};

struct Engine::Lane {
  Group* group;
  int64_t sample;
  BlockSequence sequence;        // Shares the prompt's blocks once it is prefilled.
  std::vector<int64_t> context;  // Prompt and response.

  GeneratedSample& result() const { return group->results[sample]; }
  bool sharing() const { return sequence.length() > 0; }
};

absl::StatusOr<std::unique_ptr<Engine>> Engine::Make(const Model& model,
                                                     const EngineOptions& options) {
  if (options.max_batch < 1 || options.max_prefill_tokens < 1 || options.kv_blocks < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_batch ", options.max_batch, ", max_prefill_tokens ", options.max_prefill_tokens,
        " and kv_blocks ", options.kv_blocks, " must be at least 1"));
  }
  if (model.config().task != layout::Task::kCausalLm) {
    return absl::InvalidArgumentError(
        "a sequence classification gives scores, not tokens; expected a language model");
  }
  return tensor::CatchTorch([&] { return std::unique_ptr<Engine>(new Engine(model, options)); });
}

Engine::Engine(const Model& model, const EngineOptions& options)
    : model_(model),
      options_(options),
      pool_(options.kv_blocks),
      decoder_(model, options.kv_blocks) {}

Engine::~Engine() {
  // The lanes give their blocks back to the pool.
  lanes_.clear();
  groups_.clear();
}

// The prompt's, and the sample's own.
int64_t Engine::BlocksOfOne(int64_t prompt_tokens, int64_t new_tokens) {
  return BlocksFor(prompt_tokens) + BlocksFor(prompt_tokens + new_tokens) -
         prompt_tokens / kBlockTokens;
}

// A prompt that ends inside a block leaves it to be copied.
int64_t Engine::MostBlocksOfOne(int64_t context) { return BlocksFor(context) + 1; }

absl::StatusOr<RequestId> Engine::Add(EngineRequest request) {
  const layout::ModelConfig& config = model_.config();
  RETORT_RETURN_IF_ERROR(ValidateSampling(request.sampling, config.vocab_size));
  RETORT_RETURN_IF_ERROR(CheckPrompt(config, request));
  auto group = std::make_unique<Group>();
  group->request = std::move(request);
  const int64_t needed =
      BlocksOfOne(group->prompt_length(), group->request.sampling.max_new_tokens);
  if (needed > pool_.blocks()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a sample of ", group->capacity(), " tokens needs ", needed, " blocks of the KV cache, ",
        "which has ", pool_.blocks(), "; ask for fewer tokens or give it more"));
  }
  group->id = next_id_++;
  group->filter = EffectiveFilter(group->request.sampling);
  group->mask = MaskOf(group->request.sampling, config.vocab_size);
  group->results.resize(group->request.streams.size());
  groups_.push_back(std::move(group));
  return groups_.back()->id;
}

absl::StatusOr<std::vector<TokenEvent>> Engine::Step() {
  return tensor::CatchTorch([&] {
    const c10::InferenceMode inference;
    Admit();
    rows_.Clear();
    FeedPrompts();
    FeedLanes();
    return DrawTokens();
  });
}

// Strictly in order: no request starts before all samples of the ones before it have. So the
// prompt at the head of the queue is the only one whose samples wait, and it is sure of memory as
// soon as the samples that run have ended.
void Engine::Admit() {
  for (const std::unique_ptr<Group>& group : groups_) {
    while (group->started < group->samples()) {
      if (!StartNextSample(group.get())) return;
    }
  }
}

bool Engine::StartNextSample(Group* group) {
  if (static_cast<int64_t>(lanes_.size()) >= options_.max_batch) return false;
  std::optional<BlockSequence> prompt;
  if (!group->prompt.has_value()) {
    prompt = BlockSequence::Open(&pool_, group->prompt_length());
    if (!prompt.has_value()) return false;
  }
  std::optional<BlockSequence> sequence =
      BlockSequence::OpenSharing(&pool_, group->prompt_length(), group->capacity());
  if (!sequence.has_value()) return false;
  if (prompt.has_value()) group->prompt = std::move(prompt);
  lanes_.push_back(std::make_unique<Lane>(
      Lane{group, group->started++, *std::move(sequence), group->request.prompt}));
  return true;
}

// The next tokens of prompts that are not in the cache yet, max_prefill_tokens in all.
void Engine::FeedPrompts() {
  fed_.clear();
  int64_t budget = options_.max_prefill_tokens;
  for (const std::unique_ptr<Group>& group : groups_) {
    if (!group->prompt.has_value() || group->prefilled()) continue;
    if (budget == 0) break;
    const int64_t first = group->prompt->length();
    const int64_t count = std::min(budget, group->prompt_length() - first);
    budget -= count;
    group->prompt->Append(count);
    for (int64_t p = first; p < first + count; ++p) {
      rows_.Add(group->request.prompt[p], p, *group->prompt);
    }
    if (first + count < group->prompt_length()) break;
    rows_.wanted.push_back(rows_.size() - 1);
    fed_.push_back(group.get());
  }
}

// The last token of every sample that has one.
void Engine::FeedLanes() {
  for (const std::unique_ptr<Lane>& lane : lanes_) {
    if (lane->result().ids.empty()) continue;
    const int64_t position = lane->sequence.length();
    const std::optional<BlockCopy> copy = lane->sequence.Append(1);
    if (copy.has_value()) decoder_.CopyBlock(*copy);
    rows_.Add(lane->result().ids.back(), position, lane->sequence);
    rows_.wanted.push_back(rows_.size() - 1);
  }
}

std::vector<TokenEvent> Engine::DrawTokens() {
  const int64_t width = model_.config().embedding_size();
  const float* hidden = rows_.size() > 0 ? decoder_.Hidden(rows_) : nullptr;
  for (Group* group : fed_) {
    group->last_hidden.assign(hidden, hidden + width);
    hidden += width;
  }
  std::vector<Lane*> lanes;
  std::vector<RowDraw> draws;
  for (const std::unique_ptr<Lane>& lane : lanes_) {
    const float* last = hidden;
    if (!lane->result().ids.empty()) {
      hidden += width;
    } else if (lane->group->prefilled()) {
      lane->sequence.Share(*lane->group->prompt);
      last = lane->group->last_hidden.data();
    } else {
      continue;
    }
    lanes.push_back(lane.get());
    draws.push_back(DrawOf(lane.get(), last));
  }
  decoder_.Draw(absl::MakeSpan(draws));
  return Finish(lanes, draws);
}

RowDraw Engine::DrawOf(Lane* lane, const float* hidden) const {
  Group& group = *lane->group;
  const SamplingOptions& sampling = group.request.sampling;
  RowDraw draw;
  draw.hidden = hidden;
  draw.filter = &group.filter;
  draw.mask = &group.mask;
  draw.context = {lane->context, static_cast<int64_t>(lane->result().ids.size())};
  draw.greedy = sampling.greedy;
  if (!draw.greedy) draw.uniform = group.request.streams[lane->sample].NextUniform();
  draw.raw_log_prob = sampling.raw_log_probs;
  draw.top_log_probs = sampling.top_log_probs;
  return draw;
}

void Engine::Append(const DrawnToken& token, Lane* lane) {
  GeneratedSample& result = lane->result();
  result.ids.push_back(token.id);
  result.log_probs.push_back(token.log_prob);
  if (lane->group->request.sampling.raw_log_probs) {
    result.raw_log_probs.push_back(token.raw_log_prob);
  }
  result.top_ids.insert(result.top_ids.end(), token.top_ids.begin(), token.top_ids.end());
  result.top_log_probs.insert(result.top_log_probs.end(), token.top_log_probs.begin(),
                              token.top_log_probs.end());
  lane->context.push_back(token.id);
}

FinishReason Engine::ReasonOf(const Lane& lane) const {
  const Group& group = *lane.group;
  const SamplingOptions& sampling = group.request.sampling;
  const std::vector<int64_t>& ids = lane.result().ids;
  if (std::find(sampling.eos_ids.begin(), sampling.eos_ids.end(), ids.back()) !=
      sampling.eos_ids.end()) {
    return FinishReason::kEos;
  }
  if (group.request.stop != nullptr && group.request.stop(lane.sample, ids)) {
    return FinishReason::kStop;
  }
  return static_cast<int64_t>(ids.size()) == sampling.max_new_tokens ? FinishReason::kLength
                                                                     : FinishReason::kNone;
}

std::vector<TokenEvent> Engine::Finish(absl::Span<Lane* const> lanes,
                                       absl::Span<const RowDraw> draws) {
  std::vector<TokenEvent> events;
  for (size_t i = 0; i < lanes.size(); ++i) {
    Lane& lane = *lanes[i];
    Group& group = *lane.group;
    const DrawnToken& token = draws[i].token;
    if (token.valid) Append(token, &lane);
    const FinishReason reason = token.valid ? ReasonOf(lane) : FinishReason::kFailed;
    lane.result().reason = reason;
    events.push_back({group.id, lane.sample, token.id, reason});
    if (token.valid || !group.status.ok()) continue;
    group.status = absl::InternalError(
        absl::StrCat("sample ", lane.sample, ", token ", lane.result().ids.size(),
                     ": the model's logits are not finite (its weights have diverged), or the "
                     "filter leaves no token"));
  }
  Retire();
  return events;
}

// Gives up the lanes of finished samples, prompts that nobody waits for any more, and requests that
// failed or whose samples have all finished.
void Engine::Retire() {
  for (const std::unique_ptr<Lane>& lane : lanes_) {
    if (lane->result().reason != FinishReason::kNone) ++lane->group->finished;
  }
  std::erase_if(lanes_, [](const std::unique_ptr<Lane>& lane) {
    return lane->result().reason != FinishReason::kNone || !lane->group->status.ok();
  });
  for (std::unique_ptr<Group>& group : groups_) {
    const bool failed = !group->status.ok();
    if (failed || (group->prefilled() && group->started == group->samples())) {
      group->prompt.reset();
    }
    if (failed || group->finished == group->samples()) results_.push_back(std::move(group));
  }
  std::erase(groups_, nullptr);
}

absl::StatusOr<std::vector<GeneratedSample>> Engine::TakeResults(RequestId id) {
  for (auto at = results_.begin(); at != results_.end(); ++at) {
    if ((*at)->id != id) continue;
    const std::unique_ptr<Group> group = std::move(*at);
    results_.erase(at);
    if (!group->status.ok()) return group->status;
    return std::move(group->results);
  }
  for (const std::unique_ptr<Group>& group : groups_) {
    if (group->id != id) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "request ", id, " has finished ", group->finished, " of ", group->samples(), " samples"));
  }
  return absl::NotFoundError(absl::StrCat("there is no request ", id));
}

const GeneratedSample* Engine::Peek(RequestId id, int64_t sample) const {
  const auto find = [&](const auto& groups) -> const GeneratedSample* {
    for (const std::unique_ptr<Group>& group : groups) {
      if (group->id != id || sample < 0 || sample >= group->samples()) continue;
      return &group->results[sample];
    }
    return nullptr;
  };
  const GeneratedSample* active = find(groups_);
  return active != nullptr ? active : find(results_);
}

bool Engine::Cancel(RequestId id) {
  std::erase_if(lanes_, [id](const std::unique_ptr<Lane>& lane) { return lane->group->id == id; });
  const auto is_it = [id](const std::unique_ptr<Group>& group) { return group->id == id; };
  return std::erase_if(groups_, is_it) + std::erase_if(results_, is_it) > 0;
}

}  // namespace retort::model
