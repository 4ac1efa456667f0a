// Encoding speed of one tokenizer on one thread, and how long it takes to load.
//   build/bench/tokenizer_bench --tokenizer=DIR --text=FILE [--rounds=15]
// The text is cut into documents of about 2,000 bytes. A round encodes all of them: `spans` with
// both kinds of spans, `ids` without, `cold` with spans and nothing remembered from before. With
// --rounds=0 every line on stdin ("spans", "ids", "cold", "decode", "load") runs one round and
// prints its CPU seconds, and "check" prints a checksum of all ids: bench/tokenizer_peer.py takes
// turns with another implementation that way.
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/utf8.h"
#include "common/text/tokenizer.h"

ABSL_FLAG(std::string, tokenizer, "", "folder with tokenizer.json");
ABSL_FLAG(std::string, text, "", "UTF-8 text");
ABSL_FLAG(int, rounds, 15, "rounds of each kind; 0: as stdin says");

namespace retort::text {
namespace {

constexpr size_t kDocumentBytes = 2000;
constexpr int64_t kMaxTextBytes = 256 << 20;

// Of this process. Steadier than the wall clock where others use the machine, and the same where
// they do not.
double CpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

class Bench {
 public:
  Bench(const std::string& folder, const std::string& path) : folder_(folder) {
    Load();
    absl::StatusOr<std::string> text = ReadFile(path, kMaxTextBytes);
    RETORT_CHECK(text.ok()) << text.status();
    RETORT_CHECK(!FirstInvalidByte(*text)) << path;
    for (size_t begin = 0; begin < text->size();) {
      size_t end = std::min(begin + kDocumentBytes, text->size());
      while (end < text->size() && ((*text)[end] & 0xC0) == 0x80) ++end;
      documents_.push_back(text->substr(begin, end - begin));
      begin = end;
    }
    bytes_ = static_cast<double>(text->size());
    for (const std::string& document : documents_) ids_.push_back(Ids(document));
  }

  double bytes() const { return bytes_; }

  // Of the ids of all documents, in order.
  uint64_t Checksum() const {
    uint64_t sum = 0;
    for (const auto& ids : ids_) {
      for (const int64_t id : ids) sum = sum * 31 + static_cast<uint64_t>(id);
    }
    return sum;
  }

  double Round(const std::string& kind) {
    if (kind == "cold") Load();
    const double begin = CpuSeconds();
    size_t tokens = 0;
    if (kind == "load") {
      Load();
    } else if (kind == "ids") {
      for (const std::string& document : documents_) tokens += Ids(document).size();
    } else if (kind == "decode") {
      for (const auto& ids : ids_) tokens += tokenizer_->Decode(ids, false)->size();
    } else {
      RETORT_CHECK(kind == "spans" || kind == "cold") << kind;
      for (const std::string& document : documents_) {
        absl::StatusOr<Encoding> encoding = tokenizer_->EncodeWithSpans(document, false);
        RETORT_CHECK(encoding.ok()) << encoding.status();
        tokens += encoding->source_spans.size();
      }
    }
    const double seconds = CpuSeconds() - begin;
    RETORT_CHECK(kind == "load" || tokens > 0);
    return seconds;
  }

 private:
  void Load() {
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(folder_);
    RETORT_CHECK(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }
  std::vector<int64_t> Ids(const std::string& document) const {
    absl::StatusOr<std::vector<int64_t>> ids = tokenizer_->Encode(document, false);
    RETORT_CHECK(ids.ok()) << ids.status();
    return *std::move(ids);
  }

  const std::string folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<std::string> documents_;
  std::vector<std::vector<int64_t>> ids_;
  double bytes_ = 0;
};

void Report(Bench& bench, int rounds) {
  for (const char* kind : {"spans", "ids", "cold", "decode", "load"}) {
    std::vector<double> seconds;
    for (int i = 0; i < rounds; ++i) seconds.push_back(bench.Round(kind));
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2];
    std::printf("%-7s median %8.2f ms, quartiles %8.2f .. %8.2f", kind, 1e3 * median,
                1e3 * seconds[seconds.size() / 4], 1e3 * seconds[3 * seconds.size() / 4]);
    if (std::string(kind) != "load") std::printf(", %7.2f MB/s", bench.bytes() / median / 1e6);
    std::printf("\n");
  }
}

int Main() {
  Bench bench(absl::GetFlag(FLAGS_tokenizer), absl::GetFlag(FLAGS_text));
  const int rounds = absl::GetFlag(FLAGS_rounds);
  if (rounds > 0) {
    Report(bench, rounds);
    return 0;
  }
  for (std::string kind; std::getline(std::cin, kind);) {
    if (kind == "check") {
      std::printf("%llu\n", static_cast<unsigned long long>(bench.Checksum()));
    } else {
      std::printf("%.9f\n", bench.Round(kind));
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace retort::text

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return retort::text::Main();
}
