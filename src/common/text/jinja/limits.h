// What one template may cost. A template comes with a downloaded model: it is not trusted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace retort::text::jinja {

struct Limits {
  size_t max_template_bytes = 1 << 20;
  size_t max_input_bytes = 64 << 20;  // JSON of one variable.
  // Nodes evaluated, items and 32-byte pieces of text made. Bounds time (seconds) and, as nothing
  // is freed before the end, memory (some 500 MB) at once.
  int64_t max_steps = 10'000'000;
  size_t max_output_bytes = 64 << 20;
  int max_nesting = 256;  // Of tags and of operators in the source.
  int max_depth = 1000;   // Of calls while rendering: a macro that calls itself.
};

}  // namespace retort::text::jinja
