// What both programs do with a command line that is wrong: one line on stderr that names the word.
#pragma once

#include <string>

#include "CLI/CLI.hpp"

namespace retort {

// A standard descriptor that was closed would become the number of the next file that is opened.
// Fills those with /dev/null, opened so that using them fails as before. Call it first in main.
void FillStandardDescriptors();

// A file that grows beyond the process's limit (ulimit -f) is then an error of the write, which is
// told and cleaned up as a full disk is, and no signal that kills. Child processes inherit it.
void IgnoreFileSizeSignal();

// "retort: --modl is no option of retort generate; see retort generate --help". `app` is the one
// that parsed; a word that it does not know is named before anything that is missing.
std::string ParseErrorLine(const CLI::App& app, const CLI::Error& error);

// Sets the name to that of the file argv[0] and makes ParseErrorLine what a wrong line prints.
void SetUpCommandLine(const char* argv0, CLI::App& app);

}  // namespace retort
