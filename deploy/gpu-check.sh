#!/usr/bin/env bash
# Checks Retort on a machine with NVIDIA GPUs, from the unpacked bundle or from a source folder with a release build:
# the devices, the GPU tests, the golden cases of models, the quick start twice on the GPU with the same final weights,
# and a table of speeds beside Hugging Face transformers where python3 has them.
#   deploy/gpu-check.sh [--goldens DIR] [--quick] [--out DIR]
#     --goldens DIR   golden cases for retort-conformance (a folder with model/)
#     --quick         without the table of speeds
#     --out DIR       where runs and the report go (default: a new folder in TMPDIR); report.txt holds all that is printed
# From a source folder it finds LibTorch's CUDA part as the bundle does: RETORT_TORCH (the folder of a torch package), or
# the first python3 that has one. Ends with 0 only if every check that it could make passed, and says what it could not
# make; 2: there is no GPU to check, or something is missing.
set -euo pipefail
die() { echo "gpu-check: $*" >&2; exit 2; }
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
goldens='' quick='' out=''
while [ $# -gt 0 ]; do
  case $1 in
    --goldens) goldens=${2:?--goldens needs a folder}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    --quick) quick=1; shift ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) die "unknown argument '$1'; usage: deploy/gpu-check.sh [--goldens DIR] [--quick] [--out DIR]" ;;
  esac
done
bin=$top/bin bench=$top/bin
if [ ! -x "$bin/retort" ]; then
  bin=$top/build/bin bench=$top/build/bench
  torch=${RETORT_TORCH:-$(python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null || true)}
  [ -d "$torch/torch" ] && torch=$torch/torch
  for folder in "$torch/lib" "$torch"/../nvidia/*/lib; do
    [ ! -d "$folder" ] || LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
  done
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
fi
for program in "$bin"/{retort,retort-worker,retort-gpu-test,retort-conformance,quickstart-data} "$bench"/{decode_bench,train_bench}; do
  [ -x "$program" ] || die "$program is missing; unpack the bundle (deploy/bundle.sh), or run deploy/build.sh"
done
devices=$("$bin/retort" devices --json) || die "retort devices failed (above)"
case $devices in *'"index":'*) ;; *) die "this machine has no CUDA device, so there is nothing to check" ;; esac
mkdir -p "${out:=$(mktemp -d "${TMPDIR:-/tmp}/gpu-check.XXXXXX")}"
out=$(cd "$out" && pwd)
exec > >(tee "$out/report.txt") 2>&1

failed=() left_out=()
title() { printf '\n== %s\n' "$*"; }
check() {  # NAME COMMAND...
  local name=$1; shift
  title "$name"
  if "$@"; then echo "ok: $name"; else failed+=("$name"); echo "FAILED: $name"; fi
}

title "devices, $(date -u +%FT%TZ), $(uname -nr)"
"$bin/retort" --version
"$bin/retort" devices
if command -v nvidia-smi >/dev/null; then nvidia-smi --query-gpu=name,driver_version,memory.total,pcie.link.gen.current --format=csv; fi

check "GPU tests" env RETORT_NEED_GPU=1 "$bin/retort-gpu-test" --gtest_brief=0

if [ -n "$goldens" ]; then
  check "golden cases" "$bin/retort-conformance" --device cuda "$goldens"
else
  left_out+=("golden cases: no --goldens")
fi

# One run of the quick start's two jobs in $out/$1; prints the PPO job's final weights.
quick_start() {
  local run=$out/$1 gpus=()
  for role in rollout scorer learner; do gpus+=(--set "cluster.$role.device=cuda"); done
  "$bin/quickstart-data" --seed 1 --out "$run/data" >/dev/null
  "$bin/retort" run "$top/examples/quickstart/sft.yaml" --set "output.dir=$run/sft" --set "data.train=$run/data/train.jsonl" \
    --set "data.validation=$run/data/heldout.jsonl" --set "policy.init.config=$run/data/model" \
    "${gpus[@]:0:2}" "${gpus[@]:4:2}" >"$run/sft.log" || { tail -n 5 "$run/sft.log" >&2; return 1; }
  "$bin/retort" run "$top/examples/quickstart/ppo.yaml" --set "output.dir=$run/ppo" --set "data.train=$run/data/train.jsonl" \
    --set "data.validation=$run/data/heldout.jsonl" --set "policy.path=$run/sft/model" "${gpus[@]}" \
    >"$run/ppo.log" || { tail -n 5 "$run/ppo.log" >&2; return 1; }
  grep 'final weights: ' "$run/ppo.log"
}
same_weights_twice() {
  local first second
  first=$(quick_start one) && second=$(quick_start two) || return 1
  printf '%s\n%s\n' "$first" "$second"
  tail -n 6 "$out/one/ppo.log"
  [ "$first" = "$second" ]
}
check "the quick start's SFT and PPO on the GPU, twice with the same final weights" same_weights_twice

speeds() {
  local dtype shape peer=()
  if python3 -c 'import transformers' 2>/dev/null; then peer=(python3 "$top/bench/gpu_peer.py"); else
    left_out+=("transformers beside the speeds: python3 has none")
  fi
  for dtype in bfloat16 float32; do
    for shape in gpt2-124m qwen2-0.5b; do
      "$bench/decode_bench" --device=cuda --dtype=$dtype --shape=$shape --batch=1,256 || return 1
      "${peer[@]:-true}" decode --shape $shape --dtype $dtype --batch 1,256 || return 1
      "$bench/train_bench" --device=cuda --dtype=$dtype --shape=$shape || return 1
      "${peer[@]:-true}" train --shape $shape --dtype $dtype || return 1
    done
  done
}
if [ -z "$quick" ]; then check "speeds" speeds; else left_out+=("speeds: --quick"); fi

title "result"
for what in "${left_out[@]:-}"; do [ -z "$what" ] || echo "not checked: $what"; done
if [ ${#failed[@]} -gt 0 ]; then
  for what in "${failed[@]}"; do echo "FAILED: $what"; done
  echo "report: $out/report.txt"
  exit 1
fi
echo "passed; report: $out/report.txt"
