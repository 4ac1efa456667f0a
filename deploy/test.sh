#!/usr/bin/env bash
# Set-up, build, and every test. Ends with ctest's closing line.
#   deploy/test.sh                release
#   deploy/test.sh asan           the same under AddressSanitizer
#   deploy/test.sh tsan           the threaded rooms under ThreadSanitizer
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
preset=${1:-release}
"$here/setup.sh"
targets=(); [ "$preset" != tsan ] || targets=(tsan_tests)
"$here/build.sh" "$preset" "${targets[@]}"
cd "$here/.."
dir=build; [ "$preset" = release ] || dir=build-$preset
only=(); [ "$preset" != tsan ] || only=(-L tsan)
ctest --test-dir "$dir" --output-on-failure --no-tests=error -j 2 "${only[@]}"
