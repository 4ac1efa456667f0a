// What one call of Encode needs and the next may use again: buffers, and the words seen lately.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/text/edit_map.h"
#include "common/text/normalizer.h"
#include "common/text/word.h"
#include "common/text/word_cache.h"

namespace retort::text {

// Used by one call at a time.
struct EncodeScratch {
  WordCache cache;
  NormalizerBuffers normalizer;
  EditMap edits;
  std::string prefixed;
  std::vector<Word> words, spare_words;
  std::vector<Token> tokens;

  // Lets go of what a long text left behind.
  void Trim() {
    constexpr size_t kMostKeptBytes = size_t{1} << 20;
    const auto trim = [](auto& buffer) {
      if (buffer.capacity() * sizeof(buffer[0]) <= kMostKeptBytes) return;
      std::remove_reference_t<decltype(buffer)>().swap(buffer);
    };
    trim(normalizer.text[0]);
    trim(normalizer.text[1]);
    trim(prefixed);
    trim(words);
    trim(spare_words);
    trim(tokens);
    edits.Trim(kMostKeptBytes / sizeof(Edit));
    normalizer.step_edits.Trim(kMostKeptBytes / sizeof(Edit));
  }
};

// Thread-safe. Keeps as many as have ever been in use at once, up to kMostKept.
class EncodeScratchPool {
 public:
  static constexpr size_t kMostKept = 16;

  std::unique_ptr<EncodeScratch> Take() {
    MutexLock lock(&mutex_);
    if (free_.empty()) return std::make_unique<EncodeScratch>();
    std::unique_ptr<EncodeScratch> scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }

  void Give(std::unique_ptr<EncodeScratch> scratch) {
    scratch->Trim();
    MutexLock lock(&mutex_);
    if (free_.size() < kMostKept) free_.push_back(std::move(scratch));
  }

 private:
  Mutex mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> free_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace retort::text
