"""What adapters cost and gain beside whole fine-tuning: one recording, by a model that never heard it.

    python -m benchmarks.finetuning --out=run/finetuning --recording=SONG.ogg
    python -m benchmarks.finetuning --out=run/finetuning --recording=SONG.ogg --ranks=2,8 --steps=200

The model: a tokenizer of tones and a prior of its codes, both of scale tiny, trained on the embedded chorales or the
recordings in --music. The recording is cut into pieces of --seconds, of which `prepare_data` holds some out. Then the
model goes on, by `train_prior --init`: once whole, and once for each rank of --ranks. Prints one JSON line a run.
`value` is nats a code of the held-out pieces behind the last step, and `before` the model's own; `parameters_bytes` is
what of a checkpoint is the model's, `share` that beside the whole model's; `optimizer_bytes` are the optimizer's
moments; `step_seconds` is the median over the lines of metrics.jsonl. What is finished in --out is not repeated.
"""

import dataclasses
import json
import math
import pathlib
import statistics
import subprocess
import sys
from typing import Any

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values
from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.training import metrics

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
RATE = 16000  # of the tokenizer
STREAM = "residual"
_OUT = cli.define_path("out", None, "Folder for data, models and runs.", required=True)
_RECORDING = cli.define_path("recording", None, "The recording that the model learns.", required=True)
_MUSIC = cli.define_path("music", "", "Folder of recordings that the model is trained on; by default the chorales.")
_SECONDS = flags.DEFINE_float("seconds", 12.0, "Length of a piece of it.")
_RANKS = flags.DEFINE_list("ranks", ["2", "8"], "Ranks of adapters.")
_STEPS = flags.DEFINE_integer("steps", 100, "Training steps of each run.")
_TOKENIZER_STEPS = flags.DEFINE_integer("tokenizer_steps", 400, "Training steps of the tokenizer.")
_BASE_STEPS = flags.DEFINE_integer("base_steps", 300, "Training steps of the model.")


def main() -> None:
    """Flags -> JSON lines."""
    ranks = flag_values.whole_numbers(_RANKS)
    for flag in (_SECONDS, _STEPS, _TOKENIZER_STEPS, _BASE_STEPS):
        flag_values.require_positive(flag)
    out = pathlib.Path(_OUT.value).resolve()
    cut(out / "pieces")  # first: it may be refused
    make_base(out)
    make_codes(out)
    before = nats(out / "base", out / "codes")
    whole = None
    for rank in (0, *ranks):
        line = measure(out, rank) | {"before": before}
        whole = whole or line
        print(json.dumps(line | {"share": line["parameters_bytes"] / whole["parameters_bytes"]}), flush=True)


def make_base(out: pathlib.Path) -> None:
    """The model that is to learn the recording, from other music."""
    source = ["--dataset=recordings", f"--source={_MUSIC.value}"] if _MUSIC.value else ["--dataset=chorales"]
    music, codes = out / "music", out / "music_codes"
    run("prepare_data", *source, f"--sample_rate={RATE}", f"--out={music}")
    tones = f"--config={REPOSITORY / 'configs' / 'vqvae.py'}:scale=tiny,kind=tones"
    steps = f"--config.training.num_steps={_TOKENIZER_STEPS.value}"
    run("train_vqvae", tones, f"--workdir={out / 'vqvae'}", f"--config.data.path={music}", steps)
    run("extract_codes", f"--vqvae={out / 'vqvae'}", f"--data={music}", f"--out={codes}")
    prior = f"--config={REPOSITORY / 'configs' / 'prior.py'}:tier={STREAM},scale=tiny"
    steps = f"--config.training.num_steps={_BASE_STEPS.value}"
    run("train_prior", prior, f"--workdir={out / 'base'}", f"--config.data.path={codes}", steps)


def make_codes(out: pathlib.Path) -> None:
    """The recording in pieces, as its owner would have them, prepared and in the model's codes."""
    pieces = f"--source={out / 'pieces'}"
    run("prepare_data", "--dataset=recordings", pieces, f"--sample_rate={RATE}", f"--out={out / 'audio'}")
    run("extract_codes", f"--vqvae={out / 'vqvae'}", f"--data={out / 'audio'}", f"--out={out / 'codes'}")


def cut(folder: pathlib.Path) -> None:
    """Writes the recording in pieces of equal length, unless they are there; what is left at its end is left out.

    Raises:
      UserError: it is too short.
    """
    import soundfile

    if folder.is_dir():
        return
    samples, rate = soundfile.read(_RECORDING.value, always_2d=True)
    size = math.floor(_SECONDS.value * rate)
    number = len(samples) // size
    config.require(
        number >= 3, f"--recording={_RECORDING.value}: is {number} pieces of --seconds: at least 3 are needed"
    )
    folder.mkdir(parents=True)
    for index in range(number):
        soundfile.write(folder / f"{index:03d}.wav", samples[index * size : (index + 1) * size], rate)


def measure(out: pathlib.Path, rank: int) -> dict[str, Any]:
    """Trains with adapters of a rank, or without any where it is 0, and reads what came out."""
    workdir = out / (f"rank{rank}" if rank else "whole")
    given = [f"--init={out / 'base'}", f"--workdir={workdir}", f"--config.data.path={out / 'codes'}"]
    steps = _STEPS.value
    every = [f"--config.training.{name}={steps}" for name in ("num_steps", "checkpoint_every", "eval_every")]
    adapters = [f"--config.lora.rank={rank}"] if rank else []
    run("train_prior", *given, *every, *adapters)
    seconds = [line["step_seconds"] for line in metrics.read(workdir / "metrics.jsonl") if "step_seconds" in line]
    model, trainer = (item_bytes(workdir, steps, name) for name in ("model/params", "trainer/opt_state"))
    return {
        "benchmark": "finetuning",
        "rank": rank,
        "steps": steps,
        "value": nats(workdir, out / "codes"),
        "unit": "nats/code",
        "parameters_bytes": model,
        "optimizer_bytes": trainer,
        "step_seconds": statistics.median(seconds),
    }


def item_bytes(workdir: pathlib.Path, step: int, prefix: str) -> int:
    """Bytes of the arrays of a checkpoint whose path begins so, by the facts beside them."""
    import numpy as np

    path = workdir / "checkpoints" / str(step) / "_CHECKPOINT_METADATA"
    arrays = json.loads(path.read_text())["custom_metadata"]["arrays"]
    name, _, rest = prefix.partition("/")
    shapes = [shape for path, (shape, _) in arrays[name].items() if path.split("/")[0] == rest]
    sizes = [(dtype, json.loads(f"[{numbers}")) for dtype, _, numbers in (shape.partition("[") for shape in shapes)]
    return sum(np.dtype(dtype).itemsize * math.prod(numbers) for dtype, numbers in sizes)


def nats(workdir: pathlib.Path, codes: pathlib.Path) -> float:
    """Nats a code of all held-out codes."""
    from musicgen_jax import pretrained
    from musicgen_jax.evaluation import prior_likelihood

    prior = dataclasses.replace(pretrained.load_prior(str(workdir)), codes_path=str(codes))
    return prior_likelihood.evaluate_prior(prior, "validation", 0)["nats_per_code"]


def run(verb: str, *arguments: str) -> None:
    """A command of the package, which does nothing where its folder is finished; its own words on stderr.

    Raises:
      UserError: it failed.
    """
    done = subprocess.run([sys.executable, "-m", f"musicgen_jax.{verb}", *arguments], cwd=REPOSITORY, stdout=sys.stderr)
    config.require(done.returncode == 0, f"{verb} {' '.join(arguments)}: failed, see above")


if __name__ == "__main__":
    cli.run(main)
