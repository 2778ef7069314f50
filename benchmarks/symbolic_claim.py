"""Does attention that knows distances model music better than attention that knows places, and than an LSTM?

    python -m benchmarks.symbolic_claim --part=chorales --data=DIR --out=run/claim --steps=200 --seeds=3
    python -m benchmarks.symbolic_claim --part=motif --out=run/motif --steps=600 --seeds=1

The founding claim (Huang et al. 2019, Music Transformer), small: models of about as many parameters, trained by the
project's trainer for as many steps with the same optimizer, in other keys up to six semitones away.

chorales: --data is what `prepare_data --dataset=midi` makes of the published grid of chorales, whose split it keeps.
`value` is the mean nats a token over whole pieces of the test split: a token is what one of four voices does in one
sixteenth. The published figures count the sounding pitch of each, from which it follows and which follows from it. No
model is told labels, lengths or the meter. Windows move on by half a context: every token has seen half of one, or its
whole past.

motif: pieces that repeat a phrase of two to eight bars of random notes. `value` is the accuracy of the greedy copy of a
phrase that begins 4, 8 or 16 bars back; the last is twice as long as any in training, in a longer window too.

One JSON line a run; at the end a table of means and spreads over the seeds. Runs whose folder in --out is finished are
not repeated.
"""

import dataclasses
import functools
import json
import pathlib
import statistics
import sys
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values
from musicgen_jax import config, kinds, pretrained
from musicgen_jax.codes import score_dataset
from musicgen_jax.command_line import cli
from musicgen_jax.data import loader
from musicgen_jax.priors import loss, trained
from musicgen_jax.runtime import files
from musicgen_jax.sharding import meshes
from musicgen_jax.training import loop

MODELS = ("lstm", "absolute", "relative")
RESULT = "claim.json"
BAR = 16  # tokens of a bar of the motif test: four voices, four steps
PITCHES = 24
SHORTEST, LONGEST = 2, 8  # bars of a phrase in training
LAGS = (4, 8, 16)  # bars, of the motif test
FOREVER = 2**30  # tokens of a piece whose length nobody is told

_PART = flags.DEFINE_enum("part", "chorales", ["chorales", "motif"], "What to measure.")
_MODELS = flags.DEFINE_list("models", list(MODELS), f"Which, of {', '.join(MODELS)}.")
_DATA = cli.define_path("data", "", "Chorales: folder of prepare_data.")
_OUT = cli.define_path("out", None, "Folder for the runs' workdirs.", required=True)
_STEPS = flags.DEFINE_integer("steps", 200, "Of a run.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each model.")
_FIRST_SEED = flags.DEFINE_integer("first_seed", 0, "Of the runs: several machines, or processes, may share them.")
_CONTEXT = flags.DEFINE_integer("context", 512, "Tokens of a window.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Windows of a step.")
_WIDTH = flags.DEFINE_integer("width", 128, "Of the Transformers.")
_LAYERS = flags.DEFINE_integer("layers", 3, "Of the Transformers.")
_DROPOUT = flags.DEFINE_float("dropout", 0.1, "Of all models.")
_RATE = flags.DEFINE_float("rate", 1.6e-2, "Learning rate of Muon.")


def main() -> None:
    """Flags -> JSON lines and a table."""
    for name in _MODELS.value:
        config.require(name in MODELS, f"--models={name}: must be of {', '.join(MODELS)}")
    for flag in (_STEPS, _SEEDS, _CONTEXT, _BATCH_SIZE, _WIDTH, _LAYERS):
        flag_values.require_positive(flag)
    config.require(_PART.value == "motif" or bool(_DATA.value), "--data: pass the folder of the prepared chorales")
    lines = []
    for seed in range(_FIRST_SEED.value, _FIRST_SEED.value + _SEEDS.value):
        for name in _MODELS.value:
            lines.append(measure(name, seed))
            print(json.dumps(lines[-1]), flush=True)
    print(table(lines))


def measure(name: str, seed: int) -> dict[str, object]:
    """Trains one model, or finds it trained, and measures it."""
    workdir = pathlib.Path(_OUT.value).resolve() / f"{_PART.value}-{name}-{seed}"
    if (workdir / RESULT).is_file():
        line = files.read_json(workdir / RESULT)
        rule = "it was measured with other settings: remove it, or pass another --out"
        config.require(line.get("settings") == settings(), f"{workdir / RESULT}: {rule}")
        return line
    run = run_of(name, seed)
    mesh = meshes.single_device_mesh()
    batches = {"chorales": _chorales, "motif": _motifs}[_PART.value](run, mesh)
    task = kinds.task(run)
    done = int(loop.train(task, run, workdir, mesh, batches, lambda: iter(())).step)
    config.require(done == _STEPS.value, f"stopped at step {done} of {_STEPS.value}: run the command again")
    model = pretrained.load_composer(str(workdir))
    found = {"chorales": _judge_chorales, "motif": _judge_motifs}[_PART.value](model)
    line = {"benchmark": "symbolic_claim", "part": _PART.value, "model": name, "seed": seed, "steps": _STEPS.value}
    line |= {"parameters": task.functional.num_parameters()} | found | {"settings": settings()}
    files.write_json(workdir / RESULT, line)
    return line


def settings() -> dict[str, float]:
    """The flags that decide what is measured."""
    return {flag.name: flag.value for flag in (_STEPS, _CONTEXT, _BATCH_SIZE, _WIDTH, _LAYERS, _DROPOUT, _RATE)}


def run_of(name: str, seed: int) -> config.ComposerTraining:
    """A run of one model. All have about as many parameters as relative attention has."""
    width, layers, context = _WIDTH.value, _LAYERS.value, _CONTEXT.value
    heads = max(width // 32, 1)
    distances = heads * context * (width // heads)  # of each layer's table
    block = 12 * width**2 + distances
    sizes = {"num_layers": layers, "width": width, "num_heads": heads, "head_dim": width // heads}
    sizes |= {"mlp_width": 4 * width}
    if name == "absolute":
        sizes |= {"mlp_width": 4 * width + distances // (2 * width)}
    if name == "lstm":
        units = round((layers * block / (2 * 8)) ** 0.5 / 16) * 16
        sizes = {"num_layers": 2, "width": units, "num_heads": 1, "head_dim": 1, "mlp_width": 0}
    sizes |= {"layer": name, "dropout": _DROPOUT.value, "remat": "none", "attention": "reference"}
    if name == "relative":
        sizes |= {"max_distance": context}
    model = config.ComposerConfig(
        context=context,
        position=False,
        num_codes=PITCHES + 2,
        codes_per_second=24.0,
        transformer=config.TransformerConfig(**sizes),
    )
    if _PART.value == "chorales":
        model = score_dataset.resolve(model, _DATA.value)
    optimizer = config.OptimizerConfig(
        name="muon", peak_learning_rate=_RATE.value, warmup_steps=20, decay="cosine", final_fraction=0.02, b2=0.98,
        weight_decay=0.01,
    )  # fmt: skip
    steps = _STEPS.value
    training = config.TrainingConfig(
        num_steps=steps, seed=seed, log_every=20, eval_every=0, checkpoint_every=steps, keep_checkpoints=1
    )
    data = config.DataConfig(path=_DATA.value or "generated", batch_size=_BATCH_SIZE.value, seed=seed)
    run = config.ComposerTraining(model=model, data=data, optimizer=optimizer, training=training)
    run.validate()
    return run


def _untold(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same windows, with nothing said of place, length or labels."""
    nothing = {name: 0 * batch[name] for name in ("start", "labels")}
    return batch | nothing | {"length": nothing["start"] + FOREVER}


def _chorales(run: config.ComposerTraining, mesh: jax.sharding.Mesh) -> Callable[[int], Iterator[loader.Batch]]:
    batches_from = score_dataset.training_batches(run, mesh)
    return lambda step: map(_untold, batches_from(step))


def _judge_chorales(model: trained.TrainedPrior) -> dict[str, object]:
    windows = score_dataset.ScoreWindows(_DATA.value, "test", model.config)
    context, hop = model.config.context, model.config.context // 2

    @jax.jit
    def losses(weights: tuple, codes: jax.Array) -> jax.Array:
        logits = model.functional.bind(*weights)(_window(codes))
        return loss.code_losses(logits, codes[..., None])[..., 0]

    nats, num_tokens = 0.0, 0
    for index in range(len(windows.pieces)):
        codes = windows.codes(index).astype(np.int32)
        for start in range(0, max(len(codes) - hop, 1), hop):
            part = codes[start : start + context]
            of_part = np.asarray(losses(model.weights, np.pad(part, (0, context - len(part)))[None]))[0, : len(part)]
            nats += float(of_part[hop if start else 0 :].sum())
        num_tokens += len(codes)
    return {"value": nats / num_tokens, "unit": "nats/token", "test_tokens": num_tokens}


def _window(codes: jax.Array) -> dict[str, jax.Array]:
    """A batch of windows that a model is told nothing of but its codes [B, T]."""
    zeros = jnp.zeros(len(codes), jnp.int32)
    told = {"labels": jnp.stack([zeros, zeros], axis=1), "start": zeros, "length": zeros + FOREVER}  # genre, artist
    return told | {"codes": codes[..., None], "mask": jnp.ones(codes.shape, bool)}


def motif(rng: np.random.Generator, lag: int, length: int) -> np.ndarray:
    """int32 [length]: a phrase of `lag` bars of random pitches, repeated."""
    phrase = rng.integers(2, PITCHES + 2, lag * BAR)
    return np.resize(phrase, length).astype(np.int32)


def _motifs(run: config.ComposerTraining, mesh: jax.sharding.Mesh) -> Callable[[int], Iterator[loader.Batch]]:
    """Windows of two phrases of one length, or as much of them as fits; a batch is a function of the step."""

    def batches_from(step: int) -> Iterator[loader.Batch]:
        while True:
            rng = np.random.default_rng([run.data.seed, step])
            lags = rng.integers(SHORTEST, LONGEST + 1, run.data.batch_size)
            codes = np.stack([motif(rng, lag, run.model.context) for lag in lags])
            arrays = {name: np.array(value) for name, value in _window(codes).items()}
            # What is random cannot be learned: the first phrase is not asked for.
            arrays["mask"] = np.arange(run.model.context) >= lags[:, None] * BAR
            yield loader.to_device(arrays, mesh)
            step += 1

    return batches_from


def _judge_motifs(model: trained.TrainedPrior) -> dict[str, object]:
    """Accuracy over the second bar of the copy on: the first one tells that there is one."""
    found: dict[str, float] = {}
    for lag in LAGS:
        length = (2 * lag + 1) * BAR
        longer = dataclasses.replace(model.config, context=length)
        functional = kinds.KINDS["composer"].functional(config.ComposerTraining(model=longer))
        rng = np.random.default_rng(lag)
        codes = np.stack([motif(rng, lag, length) for _ in range(8)])
        best = jax.jit(functools.partial(_greedy, functional))(model.weights, codes)
        asked = slice((lag + 1) * BAR, None)
        found[str(lag)] = float((np.asarray(best)[:, asked] == codes[:, asked]).mean())
    return {"value": found, "unit": "accuracy", "training_bars": model.config.context / BAR}


def _greedy(functional, weights: tuple, codes: jax.Array) -> jax.Array:
    return jnp.argmax(functional.bind(*weights)(_window(codes)), axis=-1)[..., 0]


def table(lines: list[dict[str, object]]) -> str:
    """Markdown: mean, smallest and largest over the seeds."""
    rows = ["| model | parameters | mean | over the seeds |", "|---|---|---|---|"]
    for name in dict.fromkeys(line["model"] for line in lines):
        own = [line for line in lines if line["model"] == name]
        values = [line["value"] for line in own]
        columns = values[0].keys() if isinstance(values[0], dict) else [""]
        for column in columns:
            numbers = [value[column] if column else value for value in values]
            what = f"{name}, {column} bars back" if column else name
            spread = f"{min(numbers):.4f} to {max(numbers):.4f}"
            rows.append(f"| {what} | {own[0]['parameters']:,} | {statistics.mean(numbers):.4f} | {spread} |")
    return "\n".join(rows)


if __name__ == "__main__":
    cli.run(main)
