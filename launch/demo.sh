#!/usr/bin/env bash
# The whole pipeline, from recordings to new music and a report. The script is the documentation: it prints each
# command before it runs it, and every command can be run by hand.
#
#   launch/demo.sh [OUT]                                                  the embedded Bach chorales
#   launch/demo.sh OUT --dataset=recordings --source=FOLDER               your own recordings
#
# Of the chorales the scores are known: a composer writes new ones, and priors perform them. Of recordings they are not,
# and a prior writes sound straight away: codes that say how loud each semitone and the noise are. A few minutes teach it
# notes. RECIPE=tiers takes the three streams of the chorales instead: they keep the sound far better, and need far more
# training (hours, and a larger scale) before there are notes in what their priors write.
#
# It runs with PYTHON, else with the environment that `make demo` made in .venv, else with python3. Interrupted and
# started again, it goes on where it was: finished steps are skipped, training resumes.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
venv=$repository/.venv/bin/python
if [ "$PWD" = "$repository" ]; then venv=.venv/bin/python; fi # shorter, in commands that are printed

out=${1:-demo}
shift || true
if [ $# = 0 ]; then
  set -- --dataset=chorales
fi
if [ -n "${PYTHON:-}" ]; then
  python=$PYTHON
elif [ -x "$venv" ]; then
  python=$venv
else
  python=python3
fi
# By which models the music is made that has no scores: tones or tiers.
recipe=${RECIPE:-tones}
case $recipe in
tones | tiers) ;;
*)
  echo "error: RECIPE=$recipe: must be tones or tiers" >&2
  exit 1
  ;;
esac
case " $* " in
*" --dataset=chorales "* | *" --dataset chorales "*) recipe=score ;;
esac
# More flags for one kind of step, separated by spaces: VQVAE_FLAGS="--config.training.num_steps=5000".
read -ra vqvae_flags <<<"${VQVAE_FLAGS:-}"
read -ra prior_flags <<<"${PRIOR_FLAGS:-}"
read -ra sample_flags <<<"${SAMPLE_FLAGS:-}"

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

train_prior() { # WORKDIR, CONFIG, more flags
  step "$python" -m musicgen_jax.train_prior --config="$2" --workdir="$out/$1" --config.data.path="$out/codes" \
    "${@:3}" ${prior_flags[@]+"${prior_flags[@]}"}
}

# 1. Audio files -> shards, split by track into train, validation and test. (The + is for empty lists in the bash of
#    macOS.)
step "$python" -m musicgen_jax.prepare_data "$@" --sample_rate=16000 --out="$out/audio"

# 2. The tokenizer: three streams of codes, one for every 128, 32 and 8 samples, or one stream of tones. It leaves the
#    first sound to listen to: a held-out recording and what its codes make of it, in OUT/vqvae/reconstruction.
kind=vqvae
if [ "$recipe" = tones ]; then kind=tones; fi
step "$python" -m musicgen_jax.train_vqvae --config="configs/vqvae.py:scale=tiny,kind=$kind" --workdir="$out/vqvae" \
  --config.data.path="$out/audio" ${vqvae_flags[@]+"${vqvae_flags[@]}"}

# 3. Audio -> codes; scores go with them.
step "$python" -m musicgen_jax.extract_codes --vqvae="$out/vqvae" --data="$out/audio" --out="$out/codes"

models=(--top="$out/top" --middle="$out/middle" --bottom="$out/bottom")
case $recipe in
score)
  # 4. The composer: four voices, what comes next. Then a prior for each stream: the codes that perform a score, given
  #    what came before and the stream above.
  train_prior composer configs/symbolic.py:model=transformer,tokens=grid,scale=tiny
  train_prior top configs/prior.py:tier=top,scale=tiny,score=true --config.training.num_steps=600
  train_prior middle configs/prior.py:tier=middle,scale=tiny,score=true
  train_prior bottom configs/prior.py:tier=bottom,scale=tiny,score=true
  models+=(--score="$out/composer")

  # 5. New music, a piece in each of the four timbres: composed, then performed. Below a temperature of 1 the priors keep
  #    to what they know best; above a guidance of 1 they follow the score more closely. Of the composer all tokens count:
  #    holding a note is always the likeliest, and with few others it would hold too many.
  how=("--genre=organ,flute,strings,voice" "--temperature=top:0.7,middle:0.3,bottom:0.3" --top_p=score:1)
  how+=(--guidance=top:2)
  ;;
tones)
  train_prior residual configs/prior.py:tier=residual,scale=tiny
  models=(--prior="residual:$out/residual")
  how=(--temperature=0.85)
  ;;
tiers)
  for tier in top middle bottom; do
    train_prior $tier configs/prior.py:tier=$tier,scale=tiny
  done
  how=(--temperature=0.85)
  ;;
esac
step "$python" -m musicgen_jax.sample --vqvae="$out/vqvae" "${models[@]}" --out="$out/samples" --seconds=8 \
  --num_samples=4 "${how[@]}" ${sample_flags[@]+"${sample_flags[@]}"}

# 6. How good is it? Prints the path of the report.
step "$python" -m musicgen_jax.evaluate --vqvae="$out/vqvae" --data="$out/audio" --samples="$out/samples" \
  "${models[@]}" --out="$out/report"
