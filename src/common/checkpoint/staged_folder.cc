#include "common/checkpoint/staged_folder.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/replace_directory.h"

namespace retort::checkpoint {
namespace {

constexpr int64_t kMaxCopiedFileBytes = int64_t{1} << 30;

constexpr char kTemplateFolder[] = "additional_chat_templates";

constexpr const char* kTokenizerFiles[] = {"tokenizer.json",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "added_tokens.json",
                                           "vocab.json",
                                           "merges.txt",
                                           "tokenizer.model",
                                           "vocab.txt",
                                           "spiece.model",
                                           "sentencepiece.bpe.model",
                                           "tekken.json",
                                           "chat_template.jinja"};

absl::Status Stage(const std::string& staging,
                   const std::function<absl::Status(const std::string& staging)>& fill) {
  RETORT_RETURN_IF_ERROR(MakeDirectories(staging));
  RETORT_RETURN_IF_ERROR(fill(staging));
  RETORT_RETURN_IF_ERROR(FsyncDirectory(staging));
  return Failpoint("export.rename");
}

}  // namespace

absl::Status WriteStagedFolder(
    const std::string& folder, ExistingFolder existing,
    const std::function<absl::Status(const std::string& staging)>& fill) {
  const bool replaced = existing == ExistingFolder::kReplaced;
  const std::string staging = absl::StrCat(folder, ".tmp-", replaced ? "export" : RandomHex(4));
  RETORT_RETURN_IF_ERROR(RemoveRecursively(staging));
  absl::Status status = Stage(staging, fill);
  if (status.ok() && replaced) return ReplaceDirectory(staging, folder);
  if (status.ok()) status = RenameDurably(staging, folder);
  if (status.ok()) return status;
  // The error that stopped it is the one to report; what was staged is garbage either way.
  RemoveRecursively(staging).IgnoreError();
  return status;
}

absl::Status CopyTokenizer(const std::string& from, const std::string& to) {
  for (const char* name : kTokenizerFiles) RETORT_RETURN_IF_ERROR(CopyFileIfThere(from, to, name));
  const std::string templates = absl::StrCat(from, "/", kTemplateFolder);
  if (!FileExists(templates)) return absl::OkStatus();
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(templates));
  const std::string copies = absl::StrCat(to, "/", kTemplateFolder);
  RETORT_RETURN_IF_ERROR(MakeDirectories(copies));
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".jinja")) continue;
    RETORT_RETURN_IF_ERROR(CopyFileIfThere(templates, copies, name));
  }
  return FsyncDirectory(copies);
}

absl::Status CopyFileIfThere(const std::string& from, const std::string& to,
                             const std::string& name) {
  const std::string source = absl::StrCat(from, "/", name);
  if (!FileExists(source)) return absl::OkStatus();
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(source, kMaxCopiedFileBytes));
  return WriteFileDurably(absl::StrCat(to, "/", name), text);
}

}  // namespace retort::checkpoint
