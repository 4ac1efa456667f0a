#!/usr/bin/env bash
# Every figure of docs/performance.md, on this machine: medians and spread, ratios within one run.
#   bench/run.sh            about ten minutes on two quiet cores, with the tokenizers
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
deploy/build.sh release allreduce_bench driver_bench weight_ring_bench ring_bench linear_bench quickstart_bench decode_bench \
  score_bench tokenizer_bench
section() { printf '\n== %s\n' "$1"; }
section "machine"
grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'; nproc --all
section "all-reduce of 512 MiB by two processes"
mpirun -n 2 --bind-to none build/bench/allreduce_bench
section "driver overhead per step, 8 workers that compute nothing"
build/bench/driver_bench
section "weights through the ring"
build/bench/weight_ring_bench
section "tensors through the ring, beside one core's memcpy"
build/bench/ring_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only
section "linear maps beside at::linear, one thread"
build/bench/linear_bench --benchmark_enable_random_interleaving --benchmark_repetitions=5 \
  --benchmark_min_time=0.02 --benchmark_report_aggregates_only
section "generation and PPO epoch of the quick start's model, one thread"
build/bench/quickstart_bench
section "greedy decoding, share of the read bandwidth"
build/bench/decode_bench
section "log-probs of given tokens"
build/bench/score_bench
section "tokenizers, one thread, in turns with Hugging Face's"
tokenizers="${RETORT_SHARED:-../shared}/data/tokenizers"
if ! "${PYTHON:-python3}" -c 'import tokenizers' 2>/dev/null; then
  echo "SKIPPED: no Python with the tokenizers package; name one with PYTHON="
elif [ ! -d "$tokenizers" ]; then
  echo "SKIPPED: no $tokenizers; name the folder above data/ with RETORT_SHARED="
else
  "${PYTHON:-python3}" bench/tokenizer_peer.py build/bench/tokenizer_bench "$tokenizers"/*
fi
