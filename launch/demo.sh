#!/usr/bin/env bash
# The whole pipeline, from recordings to new music and a report. The script is the documentation: it prints each
# command before it runs it, and every command can be run by hand.
#
#   launch/demo.sh [OUT]                                                  the embedded Bach chorales
#   launch/demo.sh OUT --dataset=recordings --source=FOLDER               your own recordings
#
# It runs with PYTHON, else with the environment that `make demo` made in .venv, else with python3. Interrupted and
# started again, it goes on where it was: finished steps are skipped, training resumes.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
venv=$repository/.venv/bin/python
if [ "$PWD" = "$repository" ]; then venv=.venv/bin/python; fi # shorter, in commands that are printed

out=${1:-demo}
shift || true
# Below 1 the priors keep to what they know best; much below, they hold one note or fall silent.
default_sample_flags="--seconds=8 --num_samples=4 --temperature=0.85"
if [ $# = 0 ]; then
  set -- --dataset=chorales
  default_sample_flags+=" --genre=organ,flute,strings,voice" # one piece in each timbre
fi
if [ -n "${PYTHON:-}" ]; then
  python=$PYTHON
elif [ -x "$venv" ]; then
  python=$venv
else
  python=python3
fi
# More flags for one kind of step, separated by spaces: VQVAE_FLAGS="--config.training.num_steps=5000".
read -ra vqvae_flags <<<"${VQVAE_FLAGS:-}"
read -ra prior_flags <<<"${PRIOR_FLAGS:-}"
read -ra sample_flags <<<"${SAMPLE_FLAGS:-$default_sample_flags}"

if ! "$python" -c 'import importlib.util as found; raise SystemExit(not found.find_spec("jax"))' 2>/dev/null; then
  echo "error: $python is no Python with JAX: \`make demo\` installs everything into .venv, or set PYTHON" >&2
  exit 1
fi
export PYTHONPATH=$repository${PYTHONPATH:+:$PYTHONPATH}

step() {
  local word
  printf '\n$'
  for word in "$@"; do
    case $word in
    *[!A-Za-z0-9_./:=,+-]*) printf ' %q' "$word" ;;
    *) printf ' %s' "$word" ;;
    esac
  done
  printf '\n'
  "$@"
}

# 1. Audio files -> shards, split by track into train, validation and test.
step "$python" -m musicgen_jax.prepare_data "$@" --sample_rate=16000 --out="$out/audio"

# 2. The tokenizer: three tiers of codes, one for every 128, 32 and 8 samples. It leaves the first sound to listen to:
#    a held-out recording and what each tier's codes make of it, in OUT/vqvae/reconstruction.
# (The + is for empty lists in the bash of macOS.)
step "$python" -m musicgen_jax.train_vqvae --config=configs/vqvae.py:scale=tiny --workdir="$out/vqvae" \
  --config.data.path="$out/audio" ${vqvae_flags[@]+"${vqvae_flags[@]}"}

# 3. Audio -> codes.
step "$python" -m musicgen_jax.extract_codes --vqvae="$out/vqvae" --data="$out/audio" --out="$out/codes"

# 4. A prior for each tier: what comes next, given what came before and the tier above.
for tier in top middle bottom; do
  step "$python" -m musicgen_jax.train_prior --config=configs/prior.py:tier=$tier,scale=tiny \
    --workdir="$out/$tier" --config.data.path="$out/codes" ${prior_flags[@]+"${prior_flags[@]}"}
done

# 5. New music.
step "$python" -m musicgen_jax.sample --vqvae="$out/vqvae" --top="$out/top" --middle="$out/middle" \
  --bottom="$out/bottom" --out="$out/samples" ${sample_flags[@]+"${sample_flags[@]}"}

# 6. How good is it? Prints the path of the report.
step "$python" -m musicgen_jax.evaluate --vqvae="$out/vqvae" --data="$out/audio" --samples="$out/samples" \
  --top="$out/top" --middle="$out/middle" --bottom="$out/bottom" --out="$out/report"
