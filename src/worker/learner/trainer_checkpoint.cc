#include "worker/learner/trainer_checkpoint.h"

#include <bit>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/layout/model_config.h"
#include "common/tensor/tensor_digest.h"
#include "common/tensor/torch_process.h"

namespace retort::worker {
namespace {

constexpr char kRecord[] = "record:";
constexpr char kError[] = "error:";

template <typename Number>
void HashNumber(Number number, Hasher* hasher) {
  hasher->Update(&number, sizeof(number));
}

// This rank's shard, as text for the gather: a rank that fails must still take part.
std::string WriteOwnShard(const checkpoint::CheckpointTarget& target, const TrainedModel& model,
                          const collective::Collective& group) {
  const int64_t total = model.layout().total_elements;
  const checkpoint::ElementRange slice =
      checkpoint::SliceOf(total, group.rank(), group.world_size());
  const auto part = [&slice](const tensor::ParameterArena& arena) {
    return arena.flat().narrow(0, slice.begin, slice.size()).cpu();
  };
  const absl::StatusOr<checkpoint::ShardRecord> record =
      checkpoint::WriteShard(target, group.rank(), group.world_size(), total,
                             {part(model.parameters), part(model.exp_avg), part(model.exp_avg_sq)});
  if (!record.ok()) return absl::StrCat(kError, record.status().message());
  return absl::StrCat(kRecord, checkpoint::EncodeShardRecord(*record));
}

absl::StatusOr<std::vector<checkpoint::ShardRecord>> DecodeShards(
    const std::vector<std::string>& texts) {
  std::vector<checkpoint::ShardRecord> shards;
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    absl::string_view text = texts[rank];
    if (!absl::ConsumePrefix(&text, kRecord)) {
      absl::ConsumePrefix(&text, kError);
      return absl::UnavailableError(
          absl::StrCat("checkpoint not written: learner rank ", rank, ": ", text));
    }
    RETORT_ASSIGN_OR_RETURN(checkpoint::ShardRecord shard,
                            checkpoint::DecodeShardRecord(text, absl::StrCat("rank ", rank)));
    shards.push_back(std::move(shard));
  }
  return shards;
}

absl::StatusOr<std::vector<checkpoint::VersionRecord>> WriteVersions(
    const checkpoint::CheckpointTarget& target, const CheckpointContents& contents) {
  std::vector<checkpoint::VersionRecord> records;
  for (const Publisher::Held& held : contents.versions) {
    RETORT_ASSIGN_OR_RETURN(const at::Tensor weights,
                            tensor::CatchTorch([&] { return held.weights.cpu().to(at::kFloat); }));
    RETORT_ASSIGN_OR_RETURN(
        checkpoint::VersionRecord record,
        checkpoint::WriteWeightVersion(target, held.version, held.digest, weights));
    records.push_back(std::move(record));
  }
  return records;
}

absl::StatusOr<Digest> Commit(const checkpoint::CheckpointTarget& target,
                              const CheckpointContents& contents,
                              std::vector<checkpoint::ShardRecord> shards) {
  checkpoint::Manifest manifest;
  manifest.step = target.step;
  manifest.epoch = target.epoch;
  manifest.world_size = static_cast<int32_t>(shards.size());
  manifest.total_elements = contents.model->layout().total_elements;
  manifest.published_elements = contents.model->layout().published_elements;
  manifest.config_digest = contents.config_digest;
  manifest.shards = std::move(shards);
  RETORT_ASSIGN_OR_RETURN(manifest.versions, WriteVersions(target, contents));
  manifest.state = contents.state;
  return checkpoint::CommitCheckpoint(target, manifest);
}

// The checkpoint of shards that every rank knows to be written; rank 0, `first`, commits it.
absl::StatusOr<Digest> CommitFirst(const checkpoint::CheckpointTarget& target,
                                   const CheckpointContents& contents,
                                   const std::vector<std::string>& texts, bool first) {
  RETORT_ASSIGN_OR_RETURN(std::vector<checkpoint::ShardRecord> shards, DecodeShards(texts));
  if (!first) return Digest{};
  return Commit(target, contents, std::move(shards));
}

// Every rank learns how `status` of rank 0 ended.
absl::Status AgreeWithRankZero(const absl::Status& status, collective::Collective& group) {
  const at::Tensor failed = at::tensor({status.ok() ? int64_t{0} : int64_t{1}}, at::kLong);
  RETORT_RETURN_IF_ERROR(group.Broadcast(failed, /*root=*/0));
  if (failed.item<int64_t>() == 0) return absl::OkStatus();
  return status.ok()
             ? absl::UnavailableError("checkpoint not written: learner rank 0 failed; see its log")
             : status;
}

}  // namespace

Digest CheckpointConfigDigest(const PolicyText& policy, const PolicyModel& model, bool value_head) {
  std::string text =
      absl::StrCat(layout::ModelConfigJson(policy.config), "|", value_head ? "value_head" : "", "|",
                   policy.tokenizer->digest().ToHex());
  if (model.adapted()) {
    absl::StrAppend(&text, "|", layout::AdapterConfigJson(model.adapter(), policy.config), "|",
                    model.base_digest().ToHex());
  }
  return DigestOf(text);
}

absl::StatusOr<Digest> SaveCheckpoint(const checkpoint::CheckpointTarget& target,
                                      const CheckpointContents& contents,
                                      collective::Collective& group) {
  const bool first = group.rank() == 0;
  RETORT_RETURN_IF_ERROR(
      AgreeWithRankZero(first ? checkpoint::BeginCheckpoint(target) : absl::OkStatus(), group));
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> texts,
                          group.AllGatherVariable(WriteOwnShard(target, *contents.model, group)));
  // Every rank has written: nobody needs the staging folder of a save that failed.
  absl::StatusOr<Digest> digest = CommitFirst(target, contents, texts, first);
  if (!digest.ok() && first) {
    const absl::Status removed = checkpoint::AbandonCheckpoint(target);
    if (!removed.ok()) LogWarning("staged files not removed error=\"{}\"", removed.ToString());
  }
  RETORT_RETURN_IF_ERROR(AgreeWithRankZero(digest.status(), group));
  return digest;
}

absl::StatusOr<checkpoint::FoundCheckpoint> RestoreCheckpoint(const std::string& folder,
                                                              const Digest& config_digest,
                                                              TrainedModel* model) {
  RETORT_ASSIGN_OR_RETURN(checkpoint::FoundCheckpoint found, checkpoint::VerifyCheckpoint(folder));
  const checkpoint::Manifest& manifest = found.manifest;
  const layout::ParameterLayout& layout = model->layout();
  if (manifest.config_digest != config_digest || manifest.total_elements != layout.total_elements ||
      manifest.published_elements != layout.published_elements) {
    return absl::FailedPreconditionError(absl::StrCat(
        folder,
        " was written for another model, adapter or tokenizer; resume with the job that wrote it"));
  }
  Digest digest;
  RETORT_RETURN_IF_ERROR(tensor::CatchTorch([&]() -> absl::Status {
    RETORT_ASSIGN_OR_RETURN(const TrainedModel::State host, model->HostState());
    RETORT_RETURN_IF_ERROR(checkpoint::LoadRange(
        found, {0, layout.total_elements},
        {host.parameters.flat(), host.exp_avg.flat(), host.exp_avg_sq.flat()}));
    model->SetState(host);
    digest = DigestOfWeights(model->Published());
    return absl::OkStatus();
  }));
  if (digest != manifest.state.weight_digest) {
    return absl::DataLossError(absl::StrCat(folder, ": the weights hash to ", digest.ToHex(),
                                            ", MANIFEST.json says ",
                                            manifest.state.weight_digest.ToHex()));
  }
  return found;
}

Digest StateDigest(const TrainedModel& model, const checkpoint::TrainerState& state) {
  Hasher hasher;
  tensor::HashTensor(model.parameters.flat(), &hasher);
  tensor::HashTensor(model.exp_avg.flat(), &hasher);
  tensor::HashTensor(model.exp_avg_sq.flat(), &hasher);
  HashNumber(state.step, &hasher);
  HashNumber(state.optimizer_steps, &hasher);
  HashNumber(state.bad_steps, &hasher);
  HashNumber(state.kl_coef, &hasher);
  HashNumber(state.score_moments.mean, &hasher);
  HashNumber(state.score_moments.var, &hasher);
  HashNumber(state.score_moments.std, &hasher);
  HashNumber(state.score_moments.count, &hasher);
  return hasher.Finish();
}

}  // namespace retort::worker
