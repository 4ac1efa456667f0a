#!/usr/bin/env bash
# Set-up, build, then the main job: teach a small model to sort six digits, first from examples (SFT), then by
# reward alone (PPO). Ends with the held-out exact match before and after PPO.
#   deploy/quickstart.sh [--seed N] [--out DIR]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/.." && pwd)
seed=1
out=
while [ $# -gt 0 ]; do
  case $1 in
    --seed) seed=${2:?--seed needs a number}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    *) echo "quickstart: unknown argument '$1'; usage: deploy/quickstart.sh [--seed N] [--out DIR]" >&2; exit 2 ;;
  esac
done
if [ -z "$out" ]; then  # The next free folder: an earlier run is never touched.
  n=1
  while [ -e "$top/runs/quickstart-$n" ]; do n=$((n + 1)); done
  out=$top/runs/quickstart-$n
fi
"$here/setup.sh"
"$here/build.sh" release retort retort-worker quickstart-data
cd "$top"
mkdir -p "$out"
out=$(cd "$out" && pwd)
build/bin/quickstart-data --seed "$seed" --out "$out/data"
build/bin/retort run examples/quickstart/sft.yaml --set "seed=$seed" --set "output.dir=$out/sft" \
  --set "data.train=$out/data/train.jsonl" --set "data.validation=$out/data/heldout.jsonl" \
  --set "policy.init.config=$out/data/model"
build/bin/retort run examples/quickstart/ppo.yaml --set "seed=$seed" --set "output.dir=$out/ppo" \
  --set "data.train=$out/data/train.jsonl" --set "data.validation=$out/data/heldout.jsonl" \
  --set "policy.path=$out/sft/model"
