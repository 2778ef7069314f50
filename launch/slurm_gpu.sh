#!/usr/bin/env bash
# A training command on the GPUs of a Slurm cluster, one process a GPU. Its help (--help) is the documentation.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: launch/slurm_gpu.sh [FLAGS] -- COMMAND...

Submits COMMAND --distributed as a job, from the present folder, which every node must see. Before its time is up, or
when it is preempted, training saves, and the job goes back into the queue; it ends when training does.

  launch/slurm_gpu.sh --nodes=4 --gpus_per_node=8 --time=24:00:00 --partition=gpu -- \
    python -m musicgen_jax.train_prior --config=configs/prior.py:tier=top,scale=1b --workdir=runs/top \
    --config.data.path=codes --config.mesh.fsdp=8

flags:
  --nodes=N                default 1
  --gpus_per_node=N        default 8
  --cpus_per_gpu=N         default 8; what reads the data
  --time=HH:MM:SS          before the job is stopped and queued again; default 24:00:00
  --save_seconds=N         to save in, before that; default 300
  --name=NAME              of the job and its output, NAME-JOB.log; default musicgen_jax
  --partition=PARTITION    --account=ACCOUNT    --qos=QOS    where the cluster asks for them
  --dry_run                prints every command and runs none

Needs sbatch. `squeue --me` shows the job; `scancel JOB` ends it. The same command again goes on where it was.
HELP
}

fail() {
  echo "error: $*" >&2
  exit 2
}

# Prints a command as it can be typed, and runs it unless --dry_run.
step() {
  local word quote="'\\''"
  printf '$' 
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_/.:=,%@+-]+$ ]] || word="'${word//\'/$quote}'"
    printf ' %s' "$word" 
  done
  printf '\n' 
  [ -n "$dry_run" ] || "$@"
}

# In the job, on its first node. All GPUs of a node are visible to each of its processes; JAX gives each process one.
in_job() {
  local child code=0 stopped=''
  trap 'stopped=1; step scancel --signal=TERM "$SLURM_JOB_ID" || true' USR1 # to the processes, not to this script
  trap : TERM # at preemption Slurm asks the processes itself, and queues the job again
  step srun --kill-on-bad-exit=1 "$@" &
  child=$!
  # A signal ends a wait.
  while kill -0 "$child" 2>/dev/null; do
    wait "$child" || true
  done
  wait "$child" || code=$?
  if [ -n "$stopped" ] && [ "$code" = 0 ]; then
    step scontrol requeue "$SLURM_JOB_ID"
  fi
  exit "$code"
}

dry_run=''
if [ "${1:-}" = in_job ]; then
  shift
  in_job "$@"
fi

nodes=1 gpus_per_node=8 cpus_per_gpu=8 time=24:00:00 save_seconds=300 name=musicgen_jax
place=()
while [ $# -gt 0 ]; do
  case $1 in
    --nodes=*) nodes=${1#*=} ;;
    --gpus_per_node=*) gpus_per_node=${1#*=} ;;
    --cpus_per_gpu=*) cpus_per_gpu=${1#*=} ;;
    --time=*) time=${1#*=} ;;
    --save_seconds=*) save_seconds=${1#*=} ;;
    --name=*) name=${1#*=} ;;
    --partition=* | --account=* | --qos=*) place+=("$1") ;;
    --dry_run) dry_run=1 ;;
    -h | --help)
      usage
      exit 0
      ;;
    --)
      shift
      break
      ;;
    *) fail "unknown argument $1: flags are written --flag=value, COMMAND follows --; see --help" ;;
  esac
  shift
done

for flag in nodes gpus_per_node cpus_per_gpu save_seconds; do
  [[ ${!flag} =~ ^[1-9][0-9]*$ ]] || fail "--$flag=${!flag}: must be 1 or more"
done
[ $# -gt 0 ] || fail "COMMAND is missing: write it behind --"
if [ -z "$dry_run" ]; then
  command -v sbatch >/dev/null || fail "sbatch is not installed: run this on a login node of the cluster"
fi

# Slurm keeps a copy of this script, and runs it in the job.
step sbatch "--job-name=$name" "--output=$name-%j.log" --open-mode=append --requeue "--signal=B:USR1@$save_seconds" \
  "--nodes=$nodes" "--ntasks-per-node=$gpus_per_node" "--gpus-per-node=$gpus_per_node" \
  "--cpus-per-task=$cpus_per_gpu" "--time=$time" ${place[@]+"${place[@]}"} "$0" in_job "$@" --distributed
