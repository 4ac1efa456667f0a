// RETORT_RETURN_IF_ERROR(expr) and RETORT_ASSIGN_OR_RETURN(declaration, expr): leave the function
// with the status when `expr` is not OK. Debian's Abseil has no such macros.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace retort {

// The same code with "context: " in front of the message; OK stays OK.
inline absl::Status WithContext(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace retort

#define RETORT_CONCAT_INNER(a, b) a##b
#define RETORT_CONCAT(a, b) RETORT_CONCAT_INNER(a, b)

#define RETORT_RETURN_IF_ERROR(expr)               \
  do {                                             \
    absl::Status retort_status = (expr);           \
    if (!retort_status.ok()) return retort_status; \
  } while (false)

#define RETORT_ASSIGN_OR_RETURN(declaration, expr) \
  RETORT_ASSIGN_OR_RETURN_IMPL(RETORT_CONCAT(retort_status_or_, __LINE__), declaration, expr)

#define RETORT_ASSIGN_OR_RETURN_IMPL(result, declaration, expr) \
  auto result = (expr);                                         \
  if (!result.ok()) return std::move(result).status();          \
  declaration = *std::move(result)
