#include "common/tensor/model_weights.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"
#include "common/tensor/safetensors_header.h"

namespace retort::tensor {
namespace {

constexpr int64_t kMaxIndexBytes = int64_t{32} << 20;
constexpr size_t kMaxShards = 4096;
constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr char kValueHeadPrefix[] = "v_head.";

// Which shard the index gives each tensor to; one file without an index.
struct FileList {
  std::vector<std::string> names;             // Sorted, without folder.
  std::map<std::string, std::string> shards;  // tensor -> file; empty without an index
};

absl::StatusOr<FileList> ReadIndex(const std::string& path) {
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxIndexBytes));
  RETORT_ASSIGN_OR_RETURN(const Json json, ParseJson(text, path, /*max_depth=*/8));
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
  return absl::NotFoundError(
      absl::StrCat(folder, ": no weights; expected ", kSingleFile, " or ", kIndexFile));
}

struct OpenFile {
  std::string path;
  UniqueFd fd;
  SafetensorsHeader header;
};

absl::StatusOr<OpenFile> OpenWeights(const std::string& path) {
  OpenFile file;
  file.path = path;
  RETORT_ASSIGN_OR_RETURN(file.fd, OpenRegularFile(path));
  RETORT_ASSIGN_OR_RETURN(file.header, ReadSafetensorsHeader(file.fd.get(), path));
  return file;
}

struct Located {
  const OpenFile* file;
  const SafetensorsEntry* entry;
};

// Every tensor of every file by name; the index and the files must agree.
absl::StatusOr<std::map<std::string, Located>> Locate(const std::string& folder,
                                                      const FileList& list,
                                                      const std::vector<OpenFile>& files) {
  const std::string index = absl::StrCat(folder, "/", kIndexFile);
  std::map<std::string, Located> located;
  for (size_t i = 0; i < files.size(); ++i) {
    for (const SafetensorsEntry& entry : files[i].header.entries) {
      if (!located.emplace(entry.name, Located{&files[i], &entry}).second) {
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
    if (!located.contains(tensor)) {
      return absl::InvalidArgumentError(absl::StrCat(folder, "/", file, ": tensor ", tensor,
                                                     " is missing; ", index, " names it"));
    }
  }
  return located;
}

template <typename Half>
absl::Status ReadWidened(const OpenFile& file, const SafetensorsEntry& entry, float* out) {
  std::vector<Half> buffer(std::min<int64_t>(entry.elements, 1 << 19));
  for (int64_t done = 0; done < entry.elements;) {
    const int64_t count = std::min<int64_t>(buffer.size(), entry.elements - done);
    RETORT_RETURN_IF_ERROR(ReadAt(file.fd.get(), file.path, entry.begin + done * sizeof(Half),
                                  count * sizeof(Half), buffer.data()));
    for (int64_t i = 0; i < count; ++i) out[done + i] = static_cast<float>(buffer[i]);
    done += count;
  }
  return absl::OkStatus();
}

absl::Status CheckFinite(const std::string& path, const std::string& name, const float* data,
                         int64_t elements) {
  constexpr uint32_t kExponent = 0x7f800000;
  for (int64_t i = 0; i < elements; ++i) {
    if ((std::bit_cast<uint32_t>(data[i]) & kExponent) != kExponent) continue;
    return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", name, " has ",
                                                   data[i] != data[i] ? "NaN" : "infinity",
                                                   " at element ", i, "; expected finite weights"));
  }
  return absl::OkStatus();
}

// What can be said without reading data: shape and dtype.
absl::Status CheckPart(const Located& at, const layout::FileTensor& want) {
  const SafetensorsEntry& entry = *at.entry;
  if (entry.shape != want.shape) {
    return absl::InvalidArgumentError(absl::StrCat(
        at.file->path, ": tensor ", want.name, " has shape [", absl::StrJoin(entry.shape, ","),
        "]; expected [", absl::StrJoin(want.shape, ","), "] from config.json"));
  }
  if (entry.dtype != "F32" && entry.dtype != "BF16" && entry.dtype != "F16") {
    return absl::InvalidArgumentError(absl::StrCat(at.file->path, ": tensor ", want.name, " is ",
                                                   entry.dtype, "; expected F32, BF16 or F16"));
  }
  return absl::OkStatus();
}

absl::Status ReadPart(const Located& at, float* out) {
  const OpenFile& file = *at.file;
  const SafetensorsEntry& entry = *at.entry;
  if (entry.dtype == "F32") {
    RETORT_RETURN_IF_ERROR(
        ReadAt(file.fd.get(), file.path, entry.begin, entry.elements * sizeof(float), out));
  } else if (entry.dtype == "BF16") {
    RETORT_RETURN_IF_ERROR(ReadWidened<c10::BFloat16>(file, entry, out));
  } else {
    RETORT_RETURN_IF_ERROR(ReadWidened<c10::Half>(file, entry, out));
  }
  return CheckFinite(file.path, entry.name, out, entry.elements);
}

// Tensors that a Hugging Face file may hold beyond the layout's and that carry nothing.
bool MayIgnore(const std::string& name, const layout::ParameterLayout& layout) {
  if (name == "lm_head.weight") return layout.Find(name) == nullptr;  // Tied: a copy.
  return absl::StartsWith(name, "model.layers.") &&
         absl::EndsWith(name, ".self_attn.rotary_emb.inv_freq");
}

// Where every part of a layout lies in the files of a folder.
struct Resolved {
  std::vector<OpenFile> files;
  std::vector<std::pair<int64_t, Located>> parts;  // Arena offset, place.
};

// Every check that needs no data: the files hold the layout's tensors and nothing else.
absl::StatusOr<Resolved> Resolve(const std::string& folder, const layout::ParameterLayout& layout) {
  RETORT_ASSIGN_OR_RETURN(const FileList list, ListFiles(folder));
  Resolved resolved;
  for (const std::string& name : list.names) {
    RETORT_ASSIGN_OR_RETURN(OpenFile file, OpenWeights(absl::StrCat(folder, "/", name)));
    resolved.files.push_back(std::move(file));
  }
  RETORT_ASSIGN_OR_RETURN(auto located, Locate(folder, list, resolved.files));
  for (const layout::ParameterEntry& entry : layout.entries) {
    for (const layout::FileTensor& part : entry.parts) {
      const auto at = located.find(part.name);
      if (at == located.end()) {
        if (absl::StartsWith(part.name, kValueHeadPrefix)) continue;
        return absl::InvalidArgumentError(absl::StrCat(
            resolved.files[0].path, resolved.files.size() > 1 ? " and its other shards" : "",
            ": tensor ", part.name, " is missing; config.json asks for it"));
      }
      RETORT_RETURN_IF_ERROR(CheckPart(at->second, part));
      resolved.parts.push_back({part.offset, at->second});
      located.erase(at);
    }
  }
  for (const auto& [name, at] : located) {
    if (MayIgnore(name, layout)) continue;
    return absl::InvalidArgumentError(absl::StrCat(at.file->path, ": tensor ", Printable(name),
                                                   " is unknown to the model of config.json"));
  }
  return resolved;
}

absl::Status ReadParts(const Resolved& resolved, ParameterArena* arena) {
  for (const auto& [offset, at] : resolved.parts) {
    RETORT_RETURN_IF_ERROR(ReadPart(at, arena->data() + offset));
  }
  return absl::OkStatus();
}

absl::Status WriteAll(int fd, const std::string& path, const char* data, int64_t size) {
  while (size > 0) {
    const ssize_t written = write(fd, data, std::min<int64_t>(size, 1 << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return ErrnoError(errno, absl::StrCat("write ", path));
    data += written;
    size -= written;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> WeightFiles(const std::string& folder) {
  RETORT_ASSIGN_OR_RETURN(const FileList list, ListFiles(folder));
  std::vector<std::string> paths;
  for (const std::string& name : list.names) paths.push_back(absl::StrCat(folder, "/", name));
  return paths;
}

absl::Status LoadModelWeights(const std::string& folder, ParameterArena* arena) {
  RETORT_ASSIGN_OR_RETURN(const Resolved resolved, Resolve(folder, arena->layout()));
  return ReadParts(resolved, arena);
}

absl::StatusOr<ParameterArena> ReadModelArena(const std::string& folder,
                                              layout::ParameterLayout layout) {
  RETORT_ASSIGN_OR_RETURN(const Resolved resolved, Resolve(folder, layout));
  RETORT_ASSIGN_OR_RETURN(ParameterArena arena, ParameterArena::Allocate(std::move(layout)));
  RETORT_RETURN_IF_ERROR(ReadParts(resolved, &arena));
  return arena;
}

absl::Status WriteModelWeights(const std::string& folder, const ParameterArena& arena) {
  std::vector<layout::FileTensor> parts;
  std::vector<SafetensorsSpec> specs;
  for (const layout::ParameterEntry& entry : arena.layout().entries) {
    if (entry.group == layout::ParameterGroup::kValueHead) continue;
    for (const layout::FileTensor& part : entry.parts) {
      parts.push_back(part);
      specs.push_back({part.name, "F32", part.shape});
    }
  }
  const std::string header = EncodeSafetensorsHeader(specs, {{"format", "pt"}});
  const std::string path = absl::StrCat(folder, "/", kSingleFile);
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return ErrnoError(errno, absl::StrCat("create ", path));
  RETORT_RETURN_IF_ERROR(WriteAll(fd.get(), path, header.data(), header.size()));
  for (const layout::FileTensor& part : parts) {
    RETORT_RETURN_IF_ERROR(WriteAll(fd.get(), path,
                                    reinterpret_cast<const char*>(arena.data() + part.offset),
                                    part.elements() * sizeof(float)));
  }
  if (fsync(fd.get()) != 0) return ErrnoError(errno, absl::StrCat("fsync ", path));
  return absl::OkStatus();
}

}  // namespace retort::tensor
