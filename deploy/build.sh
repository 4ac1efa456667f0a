#!/usr/bin/env bash
# Configures and builds one preset (default: release). Usage: deploy/build.sh [PRESET [TARGET...]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=${1:-release}; shift || true
start=$SECONDS
cmake --preset "$preset" >/dev/null
printf 'build: %s (10 to 15 minutes on two cores when nothing is cached)\n' "$preset"
cmake --build --preset "$preset" ${*:+--target "$@"} | { grep -v '^\[' || true; }
printf 'build: %s ready in %d s\n' "$preset" $((SECONDS - start))
