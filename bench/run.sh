#!/usr/bin/env bash
# Every figure of docs/performance.md, on this machine: medians and spread, ratios within one run.
#   bench/run.sh            about five minutes on two quiet cores
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
deploy/build.sh release allreduce_bench driver_bench weight_ring_bench decode_bench
section() { printf '\n== %s\n' "$1"; }
section "machine"
grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'; nproc
section "all-reduce of 512 MiB by two processes"
mpirun -n 2 --bind-to none build/bench/allreduce_bench
section "driver overhead per step, 8 workers that compute nothing"
build/bench/driver_bench
section "weights through the ring"
build/bench/weight_ring_bench
section "generation and PPO epoch of the quick start's model, one thread"
build/bench/decode_bench
