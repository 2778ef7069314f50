#!/usr/bin/env bash
# The same training command as several processes on this machine, connected as the hosts of a cluster would be: a
# rehearsal of a pod. Its help (--help) is the documentation.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: launch/local_processes.sh N COMMAND...

Runs COMMAND as N processes that train together (jax.distributed, with a coordinator on a free local port), such as

  launch/local_processes.sh 2 python -m musicgen_jax.train_vqvae --config=configs/vqvae.py:scale=tiny \
    --workdir=vqvae --config.data.path=audio

Every line of output begins with the number of its process. SIGTERM and Ctrl-C are passed on: training saves and exits
with 0, after Ctrl-C with 130; a second Ctrl-C ends it at once. When one process fails, the others are ended and the exit code is that of the first failure.

Set for each process: MUSICGEN_JAX_COORDINATOR, MUSICGEN_JAX_NUM_PROCESSES, MUSICGEN_JAX_PROCESS_ID. JAX_PLATFORMS is
cpu unless it is set; the processes would claim the same accelerators otherwise.
HELP
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  usage
  exit 0
fi
if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]] || [ $# -lt 2 ]; then
  usage >&2
  exit 2
fi
num_processes=$1
shift
grace_seconds=20 # for the others to end by themselves when one has failed

port=$("${PYTHON:-python3}" -c 'import socket; s = socket.create_server(("", 0)); print(s.getsockname()[1])')
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
export MUSICGEN_JAX_COORDINATOR=127.0.0.1:$port MUSICGEN_JAX_NUM_PROCESSES=$num_processes

declare -A running=() # process id of the system -> number of the process
signal_all() {
  for pid in "${!running[@]}"; do
    kill -s "$1" "$pid" 2>/dev/null || true
  done
}
trap 'signal_all TERM' TERM
# shellcheck disable=SC2329 # trap calls it
interrupt() {
  signal_all INT
  # Bash starts background processes deaf to Ctrl-C; until training listens to it again, only this ends them.
  if [ "$((++interrupts))" -gt 1 ]; then signal_all TERM; fi
}
interrupts=0
trap interrupt INT

for ((i = 0; i < num_processes; i++)); do
  MUSICGEN_JAX_PROCESS_ID=$i "$@" > >(exec sed -u "s/^/[$i] /") 2>&1 &
  running[$!]=$i
done

first_failure=0
while [ ${#running[@]} -gt 0 ]; do
  code=0
  wait -n -p ended "${!running[@]}" 2>/dev/null || code=$?
  if [ -z "${ended:-}" ]; then # a signal came, and was passed on; or two ended at once, and bash told of one
    sleep 0.1
    for pid in "${!running[@]}"; do
      kill -0 "$pid" 2>/dev/null || ended=$pid
    done
    [ -n "${ended:-}" ] || continue
    code=0
    wait "$ended" 2>/dev/null || code=$?
  fi
  number=${running[$ended]}
  unset "running[$ended]"
  if [ "$code" != 0 ] && [ "$first_failure" = 0 ]; then
    first_failure=$code
    how="exit code $code"
    if [ "$code" -gt 128 ]; then how="signal $(kill -l "$code")"; fi
    echo "local_processes: process $number ended with $how; ending the others" >&2
    # A trainer takes SIGTERM for a question asked between steps, and may be waiting for the one that is gone.
    (
      sleep "$grace_seconds"
      signal_all KILL
    ) >/dev/null 2>&1 &
    killer=$!
    signal_all TERM
  fi
done
if [ -n "${killer:-}" ]; then kill "$killer" 2>/dev/null || true; fi
exit "$first_failure"
