#!/usr/bin/env bash
# What the programs and the GPU plug-in link, and what a machine without a GPU answers to a job that wants one.
#   tests/deploy/gpu_plugin_test.sh SOURCE_DIR BIN_DIR
# RETORT_TORCH: a torch with its CUDA part, for the plug-in to be loaded with; without one that part is skipped (77).
set -euo pipefail
top=$1 bin=$2
fail() { echo "FAILED: $*" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
plugin=$bin/libretort_cuda.so

needed() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
for program in retort retort-worker; do
  ! needed "$bin/$program" | grep -E 'cuda|cudart|nccl' || fail "$program links a CUDA library"
done
! needed "$bin/retort" | grep -E 'torch|c10|mpi' || fail "retort links Torch or MPI"

expect() {  # STATUS TEXT COMMAND...: one line, with the text in it.
  local want=$1 text=$2 status=0; shift 2
  "$@" >"$work/out" 2>&1 || status=$?
  [ "$status" = "$want" ] && [ "$(wc -l <"$work/out")" = 1 ] && grep -qF -- "$text" "$work/out" && return
  cat "$work/out"
  fail "status $status, expected $want and one line with '$text', of: $*"
}
"$bin/quickstart-data" --seed 1 --out "$work/data" >/dev/null
job=(run "$top/examples/quickstart/sft.yaml" --set output.dir="$work/run" --set data.train="$work/data/train.jsonl"
  --set data.validation="$work/data/heldout.jsonl" --set policy.init.config="$work/data/model"
  --set cluster.learner.device=cuda)
RETORT_GPU_PLUGIN=$work/none.so expect 2 "cluster.learner.device is cuda, but RETORT_GPU_PLUGIN names" "$bin/retort" "${job[@]}"
[ ! -e "$work/run" ] || fail "a run that was refused left its folder"

if [ ! -e "$plugin" ]; then
  echo "skipped: this build has no GPU plug-in (cuda_runtime.h and nccl.h were not there)"
  exit 77
fi
[ "$(nm -D --defined-only "$plugin" | awk '{print $3}')" = retort_gpu_plugin ] || fail "the plug-in's one symbol is retort_gpu_plugin"
for library in libtorch_cuda.so libc10_cuda.so; do
  needed "$plugin" | grep -qx "$library" || fail "the plug-in does not ask for $library"
done
! readelf -d "$plugin" | grep -E 'R(UN)?PATH' || fail "the plug-in has a path of the machine that built it"
expect 1 "libtorch_cuda.so" env -u LD_LIBRARY_PATH "$bin/retort" devices
expect 2 "cluster.learner.device is cuda, but the GPU plug-in" env -u LD_LIBRARY_PATH "$bin/retort" "${job[@]}"

torch=${RETORT_TORCH:-}
if [ ! -e "$torch/lib/libtorch_cuda.so" ]; then
  echo "skipped: RETORT_TORCH names no torch with libtorch_cuda.so, so the plug-in was not loaded; all else passed"
  exit 77
fi
libraries=$torch/lib
for lib in "$torch"/../nvidia/*/lib; do libraries=$libraries:$lib; done
export LD_LIBRARY_PATH=$libraries
if [ -e /dev/nvidia0 ]; then
  "$bin/retort" devices | tee "$work/out"
  grep -q '^NCCL 2' "$work/out" || fail "retort devices does not list this machine's"
else
  expect 0 "no CUDA device" "$bin/retort" devices
  expect 2 "cluster.learner.device is cuda, but this host has no CUDA device" "$bin/retort" "${job[@]}"
fi
[ ! -e "$work/run" ] || fail "a run that was refused left its folder"
echo "passed"
