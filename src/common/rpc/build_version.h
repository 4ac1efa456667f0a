// The text that Hello.build carries and a run's journal keeps. Driver and workers must be of one
// build: the wire and every digest depend on it.
#pragma once

#include "absl/strings/string_view.h"

namespace retort::rpc {

// "retort 0.1.0 (build 3f2a9c1b74d0)"; without the build until IdentifyBuild.
absl::string_view BuildVersion();

// Before the first BuildVersion: programs call it with kSourceDigest.
void IdentifyBuild(absl::string_view source_digest);

// Of the sources and compiler flags of this program; linked into programs only
// (cmake/RetortSourceDigest.cmake).
extern const char kSourceDigest[];

}  // namespace retort::rpc
