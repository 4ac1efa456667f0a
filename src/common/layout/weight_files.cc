#include "common/layout/weight_files.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr int64_t kMaxIndexBytes = int64_t{32} << 20;
constexpr size_t kMaxShards = 4096;
constexpr int64_t kComparedBytes = 1 << 20;  // At once.
constexpr char kSingleFile[] = "model.safetensors";
constexpr char kAdapterFile[] = "adapter_model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr char kValueHeadPrefix[] = "v_head.";

// Which shard the index gives each tensor to; one file without an index.
struct FileList {
  std::vector<std::string> names;             // Sorted, without folder.
  std::map<std::string, std::string> shards;  // tensor -> file; empty without an index
};

absl::StatusOr<FileList> ReadIndex(const std::string& path) {
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxIndexBytes));
  RETORT_ASSIGN_OR_RETURN(const nlohmann::json json, ParseSortedJson(text, path, /*max_depth=*/8));
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object() || map->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": weight_map is missing; expected an object tensor -> file"));
  }
  FileList list;
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || name[0] == '.' || absl::StrContains(name, "/")) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": weight_map names no plain file for tensor \"", Printable(tensor), "\""));
    }
    list.shards[tensor] = name;
    names.insert(name);
  }
  if (names.size() > kMaxShards) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", names.size(), " files; expected at most ", kMaxShards));
  }
  list.names.assign(names.begin(), names.end());
  return list;
}

absl::StatusOr<FileList> ListFiles(const std::string& folder) {
  if (FileExists(absl::StrCat(folder, "/", kSingleFile))) return FileList{{kSingleFile}, {}};
  const std::string index = absl::StrCat(folder, "/", kIndexFile);
  if (FileExists(index)) return ReadIndex(index);
  for (const char* pickled : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (!FileExists(absl::StrCat(folder, "/", pickled))) continue;
    return absl::NotFoundError(absl::StrCat(
        folder, ": only ", pickled, ", which is never read: it can hold code; expected ",
        kSingleFile, "; load and save the model with Transformers to convert it"));
  }
  return absl::NotFoundError(
      absl::StrCat(folder, ": no weights; expected ", kSingleFile, " or ", kIndexFile));
}

absl::StatusOr<WeightFile> OpenWeights(const std::string& path) {
  WeightFile file;
  file.path = path;
  RETORT_ASSIGN_OR_RETURN(file.fd, OpenRegularFile(path));
  RETORT_ASSIGN_OR_RETURN(file.header, ReadSafetensorsHeader(file.fd.get(), path));
  return file;
}

struct Place {
  const WeightFile* file;
  const SafetensorsEntry* entry;
};
using Places = std::map<std::string, Place>;

// Every tensor of every file by name; the index and the files must agree.
absl::StatusOr<Places> Locate(const std::string& folder, const FileList& list,
                              const std::vector<WeightFile>& files) {
  const std::string index = absl::StrCat(folder, "/", kIndexFile);
  Places places;
  for (size_t i = 0; i < files.size(); ++i) {
    for (const SafetensorsEntry& entry : files[i].header.entries) {
      if (!places.emplace(entry.name, Place{&files[i], &entry}).second) {
        return absl::InvalidArgumentError(absl::StrCat(files[i].path, ": tensor ",
                                                       Printable(entry.name),
                                                       " is also in another shard; expected one"));
      }
      if (list.shards.empty()) continue;
      const auto shard = list.shards.find(entry.name);
      if (shard == list.shards.end() || shard->second != list.names[i]) {
        return absl::InvalidArgumentError(absl::StrCat(files[i].path, ": tensor ",
                                                       Printable(entry.name),
                                                       " is not there according to ", index));
      }
    }
  }
  for (const auto& [tensor, file] : list.shards) {
    if (places.contains(tensor)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        folder, "/", file, ": tensor ", Printable(tensor), " is missing; ", index, " names it"));
  }
  return places;
}

absl::Status CheckPlace(const Place& at, const FileTensor& want, const std::string& config) {
  const SafetensorsEntry& entry = *at.entry;
  if (entry.shape != want.shape) {
    return absl::InvalidArgumentError(absl::StrCat(
        at.file->path, ": tensor ", entry.name, " has shape [", absl::StrJoin(entry.shape, ","),
        "]; expected [", absl::StrJoin(want.shape, ","), "] from ", config));
  }
  if (entry.dtype != "F32" && entry.dtype != "BF16" && entry.dtype != "F16") {
    return absl::InvalidArgumentError(absl::StrCat(at.file->path, ": tensor ", entry.name, " is ",
                                                   entry.dtype, "; expected F32, BF16 or F16"));
  }
  return absl::OkStatus();
}

// By its name, or by that without the base prefix.
Places::iterator FindPart(const std::string& name, const std::string& base_prefix, Places* places) {
  const auto at = places->find(name);
  absl::string_view bare = name;
  if (at != places->end() || !absl::ConsumePrefix(&bare, base_prefix)) return at;
  return places->find(std::string(bare));
}

absl::StatusOr<bool> SameBytes(const Place& a, const Place& b) {
  if (a.entry->dtype != b.entry->dtype || a.entry->shape != b.entry->shape) return false;
  const int64_t bytes = a.entry->end - a.entry->begin;
  std::vector<char> left(std::min(bytes, kComparedBytes)), right(left.size());
  for (int64_t done = 0; done < bytes;) {
    const int64_t part = std::min<int64_t>(left.size(), bytes - done);
    RETORT_RETURN_IF_ERROR(
        ReadAt(a.file->fd.get(), a.file->path, a.entry->begin + done, part, left.data()));
    RETORT_RETURN_IF_ERROR(
        ReadAt(b.file->fd.get(), b.file->path, b.entry->begin + done, part, right.data()));
    if (std::memcmp(left.data(), right.data(), part) != 0) return false;
    done += part;
  }
  return true;
}

// Takes the second copy of tied weights from `places`. One that differs is a head of its own:
// Transformers 5 computes with it, Transformers 4 does not.
absl::Status TakeTiedHead(const ParameterLayout& layout, const LocatedTensor& embedding,
                          Places* places) {
  const auto head = places->find(layout.tied_head);
  if (head == places->end()) return absl::OkStatus();
  RETORT_ASSIGN_OR_RETURN(const bool same,
                          SameBytes({embedding.file, embedding.entry}, head->second));
  if (!same) {
    return absl::InvalidArgumentError(
        absl::StrCat(head->second.file->path, ": tensor ", layout.tied_head, " differs from ",
                     embedding.entry->name,
                     ", although config.json ties them; expected equal bytes; set "
                     "tie_word_embeddings to false to use both, or remove the tensor"));
  }
  places->erase(head);
  return absl::OkStatus();
}

absl::Status CheckRest(const Places& rest, const ParameterLayout& layout,
                       const std::string& config) {
  const bool value_head = layout.value_head.size() > 0;
  for (const auto& [name, at] : rest) {
    if (layout.MayIgnore(name)) continue;
    if (!value_head && absl::StartsWith(name, kValueHeadPrefix)) continue;
    return absl::InvalidArgumentError(absl::StrCat(at.file->path, ": tensor ", Printable(name),
                                                   " is unknown to the model of ", config));
  }
  return absl::OkStatus();
}

// `config`: the file that the layout follows from.
absl::StatusOr<ResolvedWeights> Resolve(const std::string& folder, const FileList& list,
                                        const ParameterLayout& layout, const std::string& config) {
  ResolvedWeights resolved;
  for (const std::string& name : list.names) {
    const std::string path = absl::StrCat(folder, "/", name);
    if (!FileExists(path)) {
      return absl::NotFoundError(absl::StrCat(path, ": missing, but ", folder, "/", kIndexFile,
                                              " names it; copy the model again"));
    }
    RETORT_ASSIGN_OR_RETURN(WeightFile file, OpenWeights(path));
    resolved.files.push_back(std::move(file));
  }
  RETORT_ASSIGN_OR_RETURN(Places places, Locate(folder, list, resolved.files));
  for (const ParameterEntry& entry : layout.entries) {
    for (const FileTensor& part : entry.parts) {
      const auto at = FindPart(part.name, layout.base_prefix, &places);
      if (at == places.end()) {
        if (entry.group == ParameterGroup::kValueHead) continue;
        return absl::InvalidArgumentError(absl::StrCat(
            resolved.files[0].path, resolved.files.size() > 1 ? " and its other shards" : "",
            ": tensor ", part.name, " is missing; ", config, " asks for it"));
      }
      RETORT_RETURN_IF_ERROR(CheckPlace(at->second, part, config));
      resolved.tensors.push_back({part, at->second.file, at->second.entry});
      places.erase(at);
    }
  }
  if (!layout.tied_head.empty()) {  // The embedding is the first of every model's tensors.
    RETORT_RETURN_IF_ERROR(TakeTiedHead(layout, resolved.tensors[0], &places));
  }
  RETORT_RETURN_IF_ERROR(CheckRest(places, layout, config));
  return resolved;
}

}  // namespace

absl::StatusOr<ResolvedWeights> ResolveWeights(const std::string& folder,
                                               const ParameterLayout& layout) {
  RETORT_ASSIGN_OR_RETURN(const FileList list, ListFiles(folder));
  return Resolve(folder, list, layout, "config.json");
}

absl::StatusOr<ResolvedWeights> ResolveAdapter(const std::string& folder,
                                               const ParameterLayout& layout) {
  if (FileExists(absl::StrCat(folder, "/", kAdapterFile))) {
    return Resolve(folder, FileList{{kAdapterFile}, {}}, layout, "adapter_config.json");
  }
  return absl::NotFoundError(
      absl::StrCat(folder, ": no adapter; expected ", kAdapterFile, " beside adapter_config.json"));
}

absl::StatusOr<std::vector<std::string>> WeightFiles(const std::string& folder) {
  RETORT_ASSIGN_OR_RETURN(const FileList list, ListFiles(folder));
  std::vector<std::string> paths;
  for (const std::string& name : list.names) paths.push_back(absl::StrCat(folder, "/", name));
  return paths;
}

}  // namespace retort::layout
