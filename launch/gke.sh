#!/usr/bin/env bash
# A training command on TPU slices of a GKE cluster, as a JobSet that xpk writes. Its help (--help) is the
# documentation.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: launch/gke.sh VERB --cluster=CLUSTER --zone=ZONE [FLAGS] [-- COMMAND...]

  create   a cluster with the slices, and JobSet and Kueue on it
  run      puts COMMAND --distributed into the queue, to run on every host of the slices; when a host is preempted or
           fails, all hosts start again and training goes on from its newest checkpoint
  status   jobs of the cluster
  stop     ends the job; training saves first
  delete   the cluster

  launch/gke.sh create --cluster=music --zone=us-west4-a --tpu_type=v5litepod-16 --spot
  launch/gke.sh run --cluster=music --zone=us-west4-a --tpu_type=v5litepod-16 --name=prior --image=IMAGE -- \
    python -m musicgen_jax.train_prior --config=configs/prior.py:tier=top,scale=5b --workdir=/mnt/runs/top \
    --config.data.path=/mnt/codes --config.mesh.fsdp=16 --config.training.accumulation_steps=32

flags:
  --cluster=CLUSTER         of GKE
  --zone=ZONE               such as us-west4-a
  --project=PROJECT         default: gcloud's own setting
  --tpu_type=TYPE           create, run: such as v5litepod-16, v5p-128
  --num_slices=N            create, run: slices, which the data center's network joins; default 1
  --spot                    create: cheaper, and may be preempted at any time; on demand without it
  --name=NAME               run, stop: of the job
  --image=IMAGE             run: Docker image with Python 3.11 or newer and '.[tpu,gcs]' installed; the present folder
                            is added to it
  --max_restarts=N          run: default 50
  --dry_run                 prints every command and runs none

Folders in COMMAND must be the same storage on every host (`xpk storage`). Needs xpk (pip install xpk), gcloud and
kubectl.
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

# In a container of the job. Training that SIGTERM stops has saved, and exits with 0; Kubernetes would take the job for
# finished and not start it again.
in_container() {
  local child='' code=0 stopped=''
  trap 'stopped=1; [ -z "$child" ] || kill -TERM "$child" || true' TERM
  "$@" &
  child=$!
  [ -z "$stopped" ] || kill -TERM "$child" || true # it came before there was a child
  # A signal ends a wait.
  while kill -0 "$child" 2>/dev/null; do
    wait "$child" || true
  done
  wait "$child" || code=$?
  [ -z "$stopped" ] || code=143
  exit "$code"
}

verb=${1:-}
case $verb in
  create | run | status | stop | delete) shift ;;
  in_container)
    shift
    in_container "$@"
    ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    fail "VERB is '$verb': must be create, run, status, stop or delete"
    ;;
esac

cluster='' zone='' project='' tpu_type='' name='' image='' dry_run=''
capacity=--on-demand
num_slices=1
max_restarts=50
while [ $# -gt 0 ]; do
  case $1 in
    --cluster=*) cluster=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --tpu_type=*) tpu_type=${1#*=} ;;
    --num_slices=*) num_slices=${1#*=} ;;
    --name=*) name=${1#*=} ;;
    --image=*) image=${1#*=} ;;
    --max_restarts=*) max_restarts=${1#*=} ;;
    --spot) capacity=--spot ;;
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

[ -n "$cluster" ] || fail "--cluster is missing"
[ -n "$zone" ] || fail "--zone is missing, such as --zone=us-west4-a"
[[ $num_slices =~ ^[1-9][0-9]*$ ]] || fail "--num_slices=$num_slices: must be 1 or more"
[[ $max_restarts =~ ^[0-9]+$ ]] || fail "--max_restarts=$max_restarts: must be 0 or more"
case $verb in
  create | run) [ -n "$tpu_type" ] || fail "--tpu_type is missing, such as v5litepod-16" ;;
esac
case $verb in
  run | stop) [ -n "$name" ] || fail "--name of the job is missing" ;;
esac
if [ "$verb" = run ]; then
  [ -n "$image" ] || fail "--image is missing: a Docker image with the dependencies"
  [ $# -gt 0 ] || fail "COMMAND is missing: write it behind --"
else
  [ $# = 0 ] || fail "$verb takes no COMMAND"
fi
if [ -z "$dry_run" ]; then
  command -v xpk >/dev/null || fail "xpk is not installed: pip install xpk"
  command -v gcloud >/dev/null || fail "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
  command -v kubectl >/dev/null || fail "kubectl is not installed: gcloud components install kubectl"
fi
cd "$(dirname "$0")/.."

where=("--cluster=$cluster" "--zone=$zone")
[ -z "$project" ] || where+=("--project=$project")
slices=("--tpu-type=$tpu_type" "--num-slices=$num_slices")

case $verb in
  create) step xpk cluster create "${where[@]}" "${slices[@]}" "$capacity" ;;
  run)
    quoted=$(printf ' %q' bash launch/gke.sh in_container "$@" --distributed)
    # Five minutes to save: a slice that is preempted has less, and saves what it can. xpk would not count a host that
    # fails because another one is gone among the failures to restart from.
    step xpk workload create "${where[@]}" "${slices[@]}" "--workload=$name" "--base-docker-image=$image" \
      --script-dir=. "--max-restarts=$max_restarts" --restart-on-user-code-failure \
      --termination-grace-period-seconds=300 "--command=${quoted# }"
    ;;
  status) step xpk workload list "${where[@]}" ;;
  stop) step xpk workload delete "${where[@]}" "--workload=$name" --force ;;
  delete) step xpk cluster delete "${where[@]}" ;;
esac
