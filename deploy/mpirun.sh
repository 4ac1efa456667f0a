#!/usr/bin/env bash
# Starts the workers of one run under Open MPI, and starts them again when they fail while the driver still waits.
#   deploy/mpirun.sh N --driver=HOST:PORT --token-file=PATH [options] [worker flags]
#     N                   ranks: scorers, then rollout workers, then learners; `retort run --workers=external`
#                         prints the line with the number that the job's plan needs
#     --max-restarts=K    give up after K restarts (default 5)
#     --restart-pause=S   seconds before a restart (default 1)
#     --scratch=DIR       Open MPI's own files (default: `mpi` beside the token file, that is RUN/mpi); emptied at
#                         each start, because a killed mpirun leaves session folders and memory segments behind.
#                         Put it on a local disk or in /dev/shm where the run folder is on a network file system
#     --worker=PATH       the program (default: retort-worker of this checkout's build)
#     --hostfile=PATH     passed to mpirun
#   Everything else is passed to the worker.
# Exit status: 0 every rank ended well
#              2 bad usage, or a rank refused its input; starting again would not help
#              3 gave up after --max-restarts
#              4 mpirun failed and the driver no longer answers
#              130, 143 interrupted (SIGINT, SIGTERM); the ranks got the signal
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() { echo "mpirun.sh: $1; usage: deploy/mpirun.sh N --driver=HOST:PORT --token-file=PATH [options]" >&2; exit 2; }

ranks=${1-}; shift || true
[[ $ranks =~ ^[1-9][0-9]*$ ]] || usage "the number of ranks is '$ranks'"
driver=; token_file=; scratch=; hostfile=
worker=$here/../build/bin/retort-worker
max_restarts=5; pause=1; worker_flags=()
for argument in "$@"; do
  case $argument in
    --driver=*) driver=${argument#*=} ;;
    --token-file=*) token_file=${argument#*=} ;;
    --scratch=*) scratch=${argument#*=} ;;
    --worker=*) worker=${argument#*=} ;;
    --hostfile=*) hostfile=${argument#*=} ;;
    --max-restarts=*) max_restarts=${argument#*=} ;;
    --restart-pause=*) pause=${argument#*=} ;;
    *) worker_flags+=("$argument") ;;
  esac
done
[[ $driver =~ ^(.+):([0-9]+)$ ]] || usage "--driver is '$driver', expected HOST:PORT"
driver_host=${BASH_REMATCH[1]}; driver_port=${BASH_REMATCH[2]}
driver_host=${driver_host#[}; driver_host=${driver_host%]}   # [::1]:50051
[ -r "$token_file" ] || usage "--token-file '$token_file' cannot be read"
[ -x "$worker" ] || usage "--worker '$worker' is not a program"
[[ $max_restarts =~ ^[0-9]+$ ]] || usage "--max-restarts is '$max_restarts'"
[ -z "$hostfile" ] || [ -r "$hostfile" ] || usage "--hostfile '$hostfile' cannot be read"
command -v mpirun >/dev/null || usage "mpirun is not installed (Debian: openmpi-bin)"
scratch=${scratch:-$(cd "$(dirname "$token_file")" && pwd)/mpi}

# Two launchers of one run would empty each other's files.
mkdir -p "$scratch" || exit 2
exec 9>"$scratch.lock"
flock --nonblock 9 || usage "another mpirun.sh uses $scratch"

command=(mpirun -n "$ranks" --bind-to none --tag-output
         --mca orte_tmpdir_base "$scratch/session" --mca btl_vader_backing_directory "$scratch/vader"
         -x OMP_WAIT_POLICY=passive)
# What workers on GPUs find their libraries and their network by.
for name in LD_LIBRARY_PATH RETORT_TORCH RETORT_GPU_PLUGIN "${!NCCL_@}"; do
  [ -z "${!name:-}" ] || command+=(-x "$name")
done
[ -z "$hostfile" ] || command+=(--hostfile "$hostfile")
[ -n "$hostfile" ] || [ "$ranks" -le "$(nproc)" ] || command+=(--oversubscribe)
[ "$(id -u)" -ne 0 ] || command+=(--allow-run-as-root)
command+=("$worker" "--driver=$driver" "--token-file=$token_file" "${worker_flags[@]}")

driver_answers() { timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$driver_host" "$driver_port" 2>/dev/null; }

child=; stopped=
stop() { stopped=$1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null; }
trap 'stop 130' INT
trap 'stop 143' TERM

restarts=0
while :; do
  rm -rf "${scratch:?}/session" "$scratch/vader"
  mkdir -p "$scratch/session" "$scratch/vader" || exit 2
  "${command[@]}" 9>&- </dev/null &
  child=$!
  wait "$child"; status=$?
  # A trapped signal ends `wait`, not mpirun: it gives the ranks time to end.
  while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done
  child=
  if [ -n "$stopped" ]; then status=$stopped; break; fi
  if [ "$status" -eq 0 ] || [ "$status" -eq 2 ]; then break; fi
  if ! driver_answers; then
    echo "mpirun.sh: mpirun ended with status $status and the driver at $driver does not answer" >&2
    status=4; break
  fi
  if [ "$restarts" -ge "$max_restarts" ]; then
    echo "mpirun.sh: mpirun ended with status $status after $restarts restarts; giving up" >&2
    status=3; break
  fi
  restarts=$((restarts + 1))
  echo "mpirun.sh: mpirun ended with status $status; restart $restarts of $max_restarts" >&2
  sleep "$pause" & wait $!   # So that a signal is heard at once.
  [ -z "$stopped" ] || { status=$stopped; break; }
done
rm -rf "${scratch:?}/session" "$scratch/vader"
rmdir "$scratch" 2>/dev/null
exit "$status"
