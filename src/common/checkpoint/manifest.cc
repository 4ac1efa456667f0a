#include "common/checkpoint/manifest.h"

#include <algorithm>
#include <limits>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort::checkpoint {
namespace {

// Reads the fields of one JSON object; the first thing that is wrong is kept and wins.
class Fields {
 public:
  Fields(const Json& object, std::string source, std::string path)
      : object_(object), source_(std::move(source)), path_(std::move(path)) {
    if (!object_.is_object()) Fail("", "is no object");
  }

  template <typename T>
  T Integer(const char* name) {
    const Json* value = Get(name);
    if (value == nullptr) return 0;
    // Negative numbers are never unsigned, so an int64 range check covers both signs.
    if (!value->is_number_integer() || (std::is_unsigned_v<T> && !value->is_number_unsigned())) {
      Fail(name, "is no integer in range");
      return 0;
    }
    if (value->is_number_unsigned() &&
        value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<T>::max())) {
      Fail(name, "is no integer in range");
      return 0;
    }
    if (std::is_signed_v<T> && value->get<int64_t>() < 0) Fail(name, "is negative");
    return value->get<T>();
  }

  double Number(const char* name) {
    const Json* value = Get(name);
    if (value == nullptr) return 0;
    if (!value->is_number()) Fail(name, "is no number");
    return value->is_number() ? value->get<double>() : 0;
  }

  std::string Text(const char* name) {
    const Json* value = Get(name);
    if (value == nullptr) return "";
    if (!value->is_string()) Fail(name, "is no string");
    return value->is_string() ? value->get<std::string>() : "";
  }

  Digest DigestField(const char* name) {
    const absl::StatusOr<Digest> digest = Digest::FromHex(Text(name));
    if (digest.ok()) return *digest;
    Fail(name, "is no digest of 32 hex digits");
    return {};
  }

  Fields Object(const char* name) {
    const Json* value = Get(name);
    Fields child(value == nullptr ? EmptyObject() : *value, source_, Path(name));
    if (value == nullptr) child.status_ = status_;
    return child;
  }

  // The list's items, empty if it is none.
  const Json& List(const char* name) {
    static const Json kEmpty = Json::array();
    const Json* value = Get(name);
    if (value == nullptr) return kEmpty;
    if (!value->is_array()) Fail(name, "is no list");
    return value->is_array() ? *value : kEmpty;
  }

  std::string Path(const std::string& name) const {
    return path_.empty() || name.empty() ? path_ + name : absl::StrCat(path_, ".", name);
  }
  const std::string& source() const { return source_; }
  void Adopt(const absl::Status& status) {
    if (status_.ok()) status_ = status;
  }

  // After the last getter: the first error, or the field that no getter asked for.
  absl::Status Finish() {
    if (!status_.ok() || !object_.is_object()) return status_;
    for (const auto& [name, value] : object_.items()) {
      if (!asked_.contains(name)) Fail(Printable(name), "is unknown");
    }
    return status_;
  }

  void Fail(const std::string& name, const std::string& what) {
    Adopt(absl::DataLossError(absl::StrCat(source_, ": field ", Path(name), " ", what)));
  }

 private:
  static const Json& EmptyObject() {
    static const Json kEmpty = Json::object();
    return kEmpty;
  }

  const Json* Get(const char* name) {
    asked_.insert(name);
    if (!object_.is_object()) return nullptr;
    const auto it = object_.find(name);
    if (it != object_.end()) return &*it;
    Fail(name, "is missing");
    return nullptr;
  }

  const Json& object_;
  std::string source_;
  std::string path_;
  std::set<std::string> asked_;
  absl::Status status_;
};

Json ToJson(const FileRecord& file) {
  return {{"name", file.name}, {"bytes", file.bytes}, {"digest", file.digest.ToHex()}};
}

FileRecord ReadFileRecord(Fields fields, Fields* parent) {
  FileRecord file;
  file.name = fields.Text("name");
  file.bytes = fields.Integer<int64_t>("bytes");
  file.digest = fields.DigestField("digest");
  // A name is a plain name: a manifest must not reach out of its folder.
  if (file.name.empty() || file.name.size() > 255 || file.name.front() == '.' ||
      file.name.find('/') != std::string::npos) {
    fields.Fail("name", "is no plain file name");
  }
  parent->Adopt(fields.Finish());
  return file;
}

Json ToJson(const ShardRecord& shard) {
  return {{"file", ToJson(shard.file)}, {"begin", shard.range.begin}, {"end", shard.range.end}};
}

absl::StatusOr<ShardRecord> ReadShard(const Json& object, const std::string& source,
                                      const std::string& path) {
  Fields fields(object, source, path);
  ShardRecord shard;
  shard.file = ReadFileRecord(fields.Object("file"), &fields);
  shard.range.begin = fields.Integer<int64_t>("begin");
  shard.range.end = fields.Integer<int64_t>("end");
  RETORT_RETURN_IF_ERROR(fields.Finish());
  return shard;
}

Json ToJson(const VersionRecord& version) {
  return {{"file", ToJson(version.file)},
          {"version", version.version},
          {"weight_digest", version.weight_digest.ToHex()}};
}

absl::StatusOr<VersionRecord> ReadVersion(const Json& object, const std::string& source,
                                          const std::string& path) {
  Fields fields(object, source, path);
  VersionRecord version;
  version.file = ReadFileRecord(fields.Object("file"), &fields);
  version.version = fields.Integer<int64_t>("version");
  version.weight_digest = fields.DigestField("weight_digest");
  RETORT_RETURN_IF_ERROR(fields.Finish());
  return version;
}

Json ToJson(const TrainerState& state) {
  return {{"step", state.step},
          {"optimizer_steps", state.optimizer_steps},
          {"bad_steps", state.bad_steps},
          {"kl_coef", state.kl_coef},
          {"score_moments",
           {{"mean", state.score_moments.mean},
            {"var", state.score_moments.var},
            {"std", state.score_moments.std},
            {"count", state.score_moments.count}}},
          {"weight_digest", state.weight_digest.ToHex()}};
}

TrainerState ReadState(Fields fields, Fields* parent) {
  TrainerState state;
  state.step = fields.Integer<int64_t>("step");
  state.optimizer_steps = fields.Integer<int64_t>("optimizer_steps");
  state.bad_steps = fields.Integer<int64_t>("bad_steps");
  state.kl_coef = fields.Number("kl_coef");
  Fields moments = fields.Object("score_moments");
  state.score_moments.mean = moments.Number("mean");
  state.score_moments.var = moments.Number("var");
  state.score_moments.std = moments.Number("std");
  state.score_moments.count = moments.Number("count");
  fields.Adopt(moments.Finish());
  state.weight_digest = fields.DigestField("weight_digest");
  parent->Adopt(fields.Finish());
  return state;
}

}  // namespace

absl::Status CheckManifest(const Manifest& manifest, absl::string_view source) {
  const auto bad = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat(source, ": ", what));
  };
  if (manifest.step != manifest.state.step) return bad("field state.step differs from step");
  if (manifest.published_elements > manifest.total_elements) {
    return bad("field published_elements is above total_elements");
  }
  if (manifest.world_size < 1 ||
      manifest.shards.size() != static_cast<size_t>(manifest.world_size)) {
    return bad(absl::StrCat("field shards has ", manifest.shards.size(), " entries for world_size ",
                            manifest.world_size));
  }
  int64_t next = 0;
  for (const ShardRecord& shard : manifest.shards) {
    if (shard.range.begin != next || shard.range.end < next) {
      return bad(absl::StrCat("shard ", Printable(shard.file.name),
                              " does not begin where the one before ends"));
    }
    next = shard.range.end;
  }
  if (next != manifest.total_elements) return bad("the shards do not cover total_elements");
  for (size_t i = 1; i < manifest.versions.size(); ++i) {
    if (manifest.versions[i - 1].version >= manifest.versions[i].version) {
      return bad("field versions is not ascending");
    }
  }
  return absl::OkStatus();
}

ElementRange SliceOf(int64_t total, int rank, int world_size) {
  constexpr int64_t kBlock = 16;
  const int64_t blocks = (total + kBlock - 1) / kBlock;
  const auto boundary = [&](int64_t index) {
    return std::min(total, kBlock * (blocks * index / world_size));
  };
  return {boundary(rank), boundary(rank + 1)};
}

namespace {

Json ContentOf(const Manifest& manifest) {
  Json shards = Json::array(), versions = Json::array();
  for (const ShardRecord& shard : manifest.shards) shards.push_back(ToJson(shard));
  for (const VersionRecord& version : manifest.versions) versions.push_back(ToJson(version));
  return {{"format_version", manifest.format_version},
          {"step", manifest.step},
          {"epoch", manifest.epoch},
          {"world_size", manifest.world_size},
          {"total_elements", manifest.total_elements},
          {"published_elements", manifest.published_elements},
          {"config_digest", manifest.config_digest.ToHex()},
          {"shards", shards},
          {"versions", versions},
          {"state", ToJson(manifest.state)}};
}

// The content of the envelope {digest, manifest}, if the digest fits.
absl::StatusOr<Json> OpenEnvelope(absl::string_view text, const std::string& source) {
  absl::StatusOr<Json> root = ParseJson(text, source, /*max_depth=*/8);
  if (!root.ok()) return absl::DataLossError(root.status().message());
  Fields fields(*root, source, "");
  const Digest digest = fields.DigestField("digest");
  fields.Object("manifest");
  RETORT_RETURN_IF_ERROR(fields.Finish());
  Json content = std::move((*root)["manifest"]);
  if (DigestOf(DumpJson(content)) != digest) {
    return absl::DataLossError(
        absl::StrCat(source, ": its contents changed, the digest does not fit"));
  }
  return content;
}

absl::StatusOr<Manifest> ReadContent(const Json& content, const std::string& source) {
  Fields fields(content, source, "");
  Manifest manifest;
  manifest.format_version = fields.Integer<int64_t>("format_version");
  if (content.contains("format_version") && manifest.format_version != kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(source, ": checkpoint format ", manifest.format_version, ", this build reads ",
                     kFormatVersion, "; use the release that wrote it"));
  }
  manifest.step = fields.Integer<int64_t>("step");
  manifest.epoch = fields.Integer<uint64_t>("epoch");
  manifest.world_size = fields.Integer<int32_t>("world_size");
  manifest.total_elements = fields.Integer<int64_t>("total_elements");
  manifest.published_elements = fields.Integer<int64_t>("published_elements");
  manifest.config_digest = fields.DigestField("config_digest");
  for (const Json& item : fields.List("shards")) {
    const std::string path = absl::StrCat("shards[", manifest.shards.size(), "]");
    RETORT_ASSIGN_OR_RETURN(ShardRecord shard, ReadShard(item, source, path));
    manifest.shards.push_back(std::move(shard));
  }
  for (const Json& item : fields.List("versions")) {
    const std::string path = absl::StrCat("versions[", manifest.versions.size(), "]");
    RETORT_ASSIGN_OR_RETURN(VersionRecord version, ReadVersion(item, source, path));
    manifest.versions.push_back(std::move(version));
  }
  manifest.state = ReadState(fields.Object("state"), &fields);
  RETORT_RETURN_IF_ERROR(fields.Finish());
  return manifest;
}

}  // namespace

std::string EncodeManifest(const Manifest& manifest) {
  const Json content = ContentOf(manifest);
  // Reading and writing again gives the same text, so the digest needs no canonical form of its
  // own.
  const Json root = {{"digest", DigestOf(DumpJson(content)).ToHex()}, {"manifest", content}};
  return DumpJson(root, 1) + "\n";
}

absl::StatusOr<Manifest> DecodeManifest(absl::string_view text, absl::string_view source) {
  const std::string where(source);
  RETORT_ASSIGN_OR_RETURN(const Json content, OpenEnvelope(text, where));
  RETORT_ASSIGN_OR_RETURN(const Manifest manifest, ReadContent(content, where));
  RETORT_RETURN_IF_ERROR(CheckManifest(manifest, where));
  return manifest;
}

std::string EncodeShardRecord(const ShardRecord& record) { return DumpJson(ToJson(record)); }

absl::StatusOr<ShardRecord> DecodeShardRecord(absl::string_view text, absl::string_view source) {
  const absl::StatusOr<Json> root = ParseJson(text, source, /*max_depth=*/4);
  if (!root.ok()) return absl::DataLossError(root.status().message());
  return ReadShard(*root, std::string(source), "");
}

}  // namespace retort::checkpoint
