#!/usr/bin/env bash
# A training command on every host of a Cloud TPU pod slice (or several), by queued resources. Its help (--help) is the
# documentation.
set -euo pipefail
exec 3>&1 # what is printed, where output is captured too

usage() {
  cat <<'HELP'
usage: launch/tpu_pod.sh VERB --name=NAME --zone=ZONE [FLAGS] [-- COMMAND...]

  create   asks for the slice; it may stay in the queue for long
  setup    waits for the slice and installs the committed code (git HEAD) in ~/musicgen_jax of every host
  run      runs COMMAND --distributed there on every host at once, until training ends
  resume   create, setup and run, until COMMAND succeeds: a slice that was preempted is deleted and asked for again,
           and training goes on from its newest checkpoint
  status   state of the slice
  delete   gives the slice back

  launch/tpu_pod.sh resume --name=prior --zone=us-west4-a --accelerator_type=v5litepod-16 --spot -- \
    python -m musicgen_jax.train_prior --config=configs/prior.py:tier=top,scale=5b --workdir=/mnt/runs/top \
    --config.data.path=/mnt/codes --config.mesh.fsdp=16 --config.training.accumulation_steps=32

flags:
  --name=NAME               of the slice, new or existing
  --zone=ZONE               such as us-west4-a
  --project=PROJECT         default: gcloud's own setting
  --accelerator_type=TYPE   create, resume: such as v5litepod-16, v5p-128
  --runtime_version=IMAGE   create, resume: default v2-alpha-tpuv5-lite; v2-alpha-tpuv5 for v5p, v2-alpha-tpuv6e for v6e
  --num_slices=N            create, resume: slices, which the data center's network joins; default 1
  --spot                    create, resume: cheaper, and may be preempted at any time
  --setup_command=COMMAND   setup, resume: on every host after the installation, such as mounting a bucket
  --dry_run                 prints every command and runs none

Folders in COMMAND must be the same storage on every host (Filestore, or a bucket mounted by gcsfuse). Output comes to
this terminal; keep it open (tmux), for training ends with it. Needs gcloud, with the Cloud TPU API turned on.
HELP
}

fail() {
  echo "error: $*" >&2
  exit 2
}

# Prints a command as it can be typed, and runs it unless --dry_run.
step() {
  local word quote="'\\''"
  printf '$' >&3
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_/.:=,%@+-]+$ ]] || word="'${word//\'/$quote}'"
    printf ' %s' "$word" >&3
  done
  printf '\n' >&3
  [ -n "$dry_run" ] || "$@"
}

verb=${1:-}
case $verb in
  create | setup | run | resume | status | delete) shift ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    fail "VERB is '$verb': must be create, setup, run, resume, status or delete"
    ;;
esac

name='' zone='' project='' accelerator_type='' spot='' setup_command='' dry_run=''
runtime_version=v2-alpha-tpuv5-lite
num_slices=1
while [ $# -gt 0 ]; do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --accelerator_type=*) accelerator_type=${1#*=} ;;
    --runtime_version=*) runtime_version=${1#*=} ;;
    --num_slices=*) num_slices=${1#*=} ;;
    --setup_command=*) setup_command=${1#*=} ;;
    --spot) spot=--spot ;;
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

[ -n "$name" ] || fail "--name is missing"
[ -n "$zone" ] || fail "--zone is missing, such as --zone=us-west4-a"
[[ $num_slices =~ ^[1-9][0-9]*$ ]] || fail "--num_slices=$num_slices: must be 1 or more"
case $verb in
  create | resume) [ -n "$accelerator_type" ] || fail "--accelerator_type is missing, such as v5litepod-16" ;;
esac
case $verb in
  run | resume) [ $# -gt 0 ] || fail "COMMAND is missing: write it behind --" ;;
  *) [ $# = 0 ] || fail "$verb takes no COMMAND" ;;
esac
if [ -z "$dry_run" ]; then
  command -v gcloud >/dev/null || fail "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
fi
cd "$(dirname "$0")/.."

queued=(gcloud compute tpus queued-resources)
where=("--zone=$zone")
[ -z "$project" ] || where+=("--project=$project")
everywhere=(--node=all --worker=all)
# The image's own Python is older than what JAX asks for.
install="mkdir -p musicgen_jax && tar -xf musicgen_jax.tar -C musicgen_jax && cd musicgen_jax && \
python3 -m pip install --quiet --user uv && python3 -m uv venv --quiet --allow-existing --python 3.12 .venv && \
python3 -m uv pip install --quiet --python .venv/bin/python -e '.[tpu,gcs]'"

create() {
  local nodes=("--node-id=$name")
  [ "$num_slices" = 1 ] || nodes=("--node-count=$num_slices" "--node-prefix=$name")
  step "${queued[@]}" create "$name" "${where[@]}" "${nodes[@]}" "--accelerator-type=$accelerator_type" \
    "--runtime-version=$runtime_version" ${spot:+"$spot"}
}

# Prints the state of the slice; nothing where there is no such slice.
state() {
  step "${queued[@]}" describe "$name" "${where[@]}" "--format=value(state.state)"
}

wait_until_active() {
  local now
  while true; do
    now=$(state) || return 1
    [ -z "$dry_run" ] || return 0
    case $now in
      ACTIVE) return 0 ;;
      FAILED | SUSPENDING | SUSPENDED) return 1 ;;
    esac
    sleep 30
  done
}

remote() {
  step "${queued[@]}" ssh "$name" "${where[@]}" "${everywhere[@]}" "--command=$1"
}

# A chain: errors do not end a script inside the condition that `resume` has it in.
setup() {
  local archive=${TMPDIR:-/tmp}/musicgen_jax-$name.tar
  wait_until_active || fail "$name is not there, or will not become active any more: see status; delete and create it"
  step git archive "--output=$archive" HEAD &&
    step "${queued[@]}" scp "$archive" "$name:musicgen_jax.tar" "${where[@]}" "${everywhere[@]}" &&
    remote "$install" &&
    { [ -z "$setup_command" ] || remote "$setup_command"; }
}

run() {
  local quoted
  quoted=$(printf ' %q' "$@" --distributed)
  remote "cd musicgen_jax && export PATH=\$PWD/.venv/bin:\$PATH && exec$quoted"
}

delete() {
  step "${queued[@]}" delete "$name" "${where[@]}" --force --quiet
}

resume() {
  local ended
  if [ -n "$dry_run" ]; then
    state
    echo "# where it was preempted or refused:"
    delete
    echo "# where there is none, or none any more:"
    create
    setup
    run "$@"
    return
  fi
  while true; do
    case $(state || true) in
      FAILED | SUSPENDING | SUSPENDED)
        delete
        create
        ;;
      '') create ;;
    esac
    ended=0
    (setup && run "$@") || ended=$?
    sleep 60 # the state lags behind what happens
    if [ "$(state || true)" = ACTIVE ]; then
      [ "$ended" = 0 ] || fail "COMMAND ended with exit code $ended, and $name was not preempted: it is still yours"
      return
    fi
    echo "tpu_pod: $name was preempted: asking for another" >&2
  done
}

case $verb in
  create) create ;;
  setup) setup ;;
  run) run "$@" ;;
  resume) resume "$@" ;;
  status) state ;;
  delete) delete ;;
esac
