#!/usr/bin/env bash
# Installs what Retort builds with: Debian packages and LibTorch (from the pinned torch wheel).
#   deploy/setup.sh            idempotent; run it again after an interruption and it goes on where it stopped
#   RETORT_DEPS=DIR            where LibTorch goes (default: .deps beside this folder)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
deps=${RETORT_DEPS:-$here/../.deps}
say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

. /etc/os-release 2>/dev/null || true
case " ${ID:-} ${ID_LIKE:-} " in
  *" debian "* | *" ubuntu "*) ;;
  *) die "this script installs packages with apt-get and needs Debian or Ubuntu; found '${PRETTY_NAME:-unknown}'. Elsewhere install the packages named in deploy/debian-packages.txt by hand, set RETORT_DEPS, and run it with RETORT_SKIP_APT=1." ;;
esac
[ "$(uname -m)" = x86_64 ] || die "the pinned LibTorch wheel is for x86_64; this machine is $(uname -m)."

# 1. Debian packages.
if [ -z "${RETORT_SKIP_APT:-}" ]; then
  mapfile -t wanted < <(grep -v '^#' "$here/debian-packages.txt")
  missing=()
  for package in "${wanted[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo)
    say "installing ${#missing[@]} Debian packages (about 250 MB on disk when all are missing): ${missing[*]}"
    "${as_root[@]}" apt-get update -q >/dev/null
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
  fi
  say "Debian packages: ready (${#wanted[@]})"
fi

# 2. LibTorch. The stamp holds the lock file's digest, so a new pin unpacks again.
stamp=$deps/.unpacked
lock_digest=$(sha256sum "$here/wheels.lock" | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$lock_digest" ]; then
  say "LibTorch: ready in $deps"
  exit 0
fi
mkdir -p "$deps/wheels"
deps=$(cd "$deps" && pwd)
free_mb=$(df -Pm "$deps" | awk 'NR==2 {print $4}')
[ "$free_mb" -ge 3000 ] || die "LibTorch needs 3 GB of free disk in $deps while it is unpacked; $free_mb MB are free."
say "fetching the wheels of deploy/wheels.lock (544 MB, as much again on disk afterwards) into $deps"
python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
  --python-version 3.11 --implementation cp \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_25_x86_64 \
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
  -d "$deps/wheels" -r "$here/wheels.lock"
say "unpacking"
rm -rf "$deps/torch" "$deps/nvidia"
unzip -q -o "$deps"/wheels/torch-*.whl 'torch/include/*' 'torch/lib/libc10.so' 'torch/lib/libtorch_cpu.so' \
  'torch/lib/libgomp*' -d "$deps"
for wheel in "$deps"/wheels/nvidia_*.whl; do
  unzip -q -o "$wheel" 'nvidia/cu13/lib/*' -d "$deps"
done
# The wheel ships old copies of two libraries that Retort takes from Debian; they must not shadow those.
rm -rf "$deps/torch/include/google" "$deps/torch/include/fmt" "$deps/wheels"
printf '%s\n' "$lock_digest" >"$stamp"
say "LibTorch: ready in $deps ($(du -sm "$deps" | cut -f1) MB)"
