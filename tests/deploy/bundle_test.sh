#!/usr/bin/env bash
# Unpacks the bundle in a root file system that holds nothing else but a shell, the C and C++ run-time and a Torch, and
# trains and generates there. Skipped (77) where no such root can be made.
#   tests/deploy/bundle_test.sh SOURCE_DIR
set -euo pipefail
top=$1
deps=${RETORT_DEPS:-$top/.deps}
skip() { echo "skipped: $*"; exit 77; }
fail() { echo "FAILED: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || skip "needs root, to mount"
unshare --mount true 2>/dev/null || skip "this container lets nobody mount"

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
mkdir -p "$root"/{usr/bin,usr/lib,usr/lib64,deps,proc,dev,tmp,work,elsewhere}
for link in bin lib lib64; do ln -s "usr/$link" "$root/$link"; done

# Libraries of the C and C++ run-time, which every Debian and Ubuntu has, and what the start script calls.
add() { for file in "$@"; do cp -L --parents -- "$file" "$root"; done; }
of_the_machine='(ld-linux|/lib(c|m|dl|rt|pthread|util|stdc\+\+|gcc_s)\.so)'
libraries() { ldd "$1" | grep -o '/[^ ]*'; }
for tool in sh env dirname readlink basename sed; do
  add "/usr/bin/$tool"
  for library in $(libraries "/usr/bin/$tool"); do add "$library"; done
done
for library in $(libraries "$top/build/bin/retort-worker" | grep -E "$of_the_machine"); do add "$library"; done

"$top/deploy/bundle.sh" "$work/bundle.tar.gz"
[ "$(stat -c %s "$work/bundle.tar.gz")" -lt $((60 << 20)) ] || fail "the bundle is larger than 60 MB"
tar -C "$root/elsewhere" -xzf "$work/bundle.tar.gz"
for library in "$root"/elsewhere/retort/lib/*; do
  case ${library##*/} in *torch* | *c10* | *cuda*) fail "the bundle holds ${library##*/}" ;; esac
done

inside() {  # COMMAND...: in the root, without anything of this environment.
  unshare --mount --pid --fork sh -ec '
    root=$1; deps=$2; shift 2
    mount --rbind "$deps" "$root/deps"; mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"
    exec chroot "$root" /usr/bin/env -i PATH=/work/bin:/usr/bin "$@"' \
    inside "$root" "$deps" ${torch:+RETORT_TORCH="$torch"} "$@"
}
expect() {  # STATUS TEXT COMMAND...
  local want=$1 text=$2 status=0; shift 2
  inside "$@" >"$work/out" 2>&1 || status=$?
  [ "$status" = "$want" ] && grep -qF -- "$text" "$work/out" && return
  cat "$work/out"
  fail "status $status, expected $want and '$text', of: $*"
}
retort=/elsewhere/retort/bin/retort

torch=
expect 0 'Usage' $retort --help
expect 2 'set RETORT_TORCH' $retort generate --model /work/model --prompt x
mkdir -p "$root/work/bin" "$root/work/other/lib"
printf '#!/bin/sh\necho /work/other\n' >"$root/work/bin/python3"
chmod 755 "$root/work/bin/python3"
expect 2 'holds no lib/libtorch_cpu.so' $retort generate --model /work/model --prompt x
touch "$root/work/other/lib/libtorch_cpu.so"
echo "__version__ = '1.0.1+cpu'" >"$root/work/other/version.py"
expect 2 '/work/other is torch 1.0.1; this build needs' $retort generate --model /work/model --prompt x

torch=/deps
expect 0 '' /elsewhere/retort/bin/quickstart-data --seed 1 --out /work/data
expect 0 'final weights: ' $retort run /elsewhere/retort/examples/quickstart/sft.yaml --set output.dir=/work/sft \
  --set data.train=/work/data/train.jsonl --set data.validation=/work/data/heldout.jsonl \
  --set policy.init.config=/work/data/model --set algorithm.steps=4 --set optimizer.warmup_steps=1
torch=
printf '#!/bin/sh\necho /deps/torch\n' >"$root/work/bin/python3"
expect 0 '' $retort generate --model /work/sft/model --prompt '931846='
[ -s "$work/out" ] || fail "generate printed nothing"
echo "passed: $(du -m "$work/bundle.tar.gz" | cut -f1) MB"
