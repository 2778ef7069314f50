"""How fast does MusicGen's prior decode with guidance, and train, and how do transformers and torch compare?

    python -m benchmarks.musicgen --what=decode --batch_sizes=1,4
    python -m benchmarks.musicgen --what=train --context=128

Prints one JSON line a case: the shape of MusicGen small (24 layers, width 1024, four codebooks), float32, on the CPU,
with the same random weights on both sides, texts of 16 vectors, two rows a sample (guidance 3) and top-k 250;
`--weights=guided` is a prior that is told its guidance, as `compress --method=guide` makes one: one row. `value`
and `peer` are frames a second: of decoding in the middle of the context, with caches; of training forward, backward,
clipping and AdamW. The peer has a process of its own and runs by turns with ours. Needs the extra `parity`.
"""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values, sides, timing
from configs import musicgen as musicgen_configs
from musicgen_jax import config, kinds
from musicgen_jax.codes import patterns
from musicgen_jax.command_line import cli
from musicgen_jax.compression import guiding, int8
from musicgen_jax.conversion import musicgen_tensors, native
from musicgen_jax.nn import modules
from musicgen_jax.runtime import allocator
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import decode, logit_filters
from musicgen_jax.sharding import meshes
from musicgen_jax.training import optimizer, state, step

_WHAT = flags.DEFINE_enum("what", "decode", ["decode", "train"], "What is timed.")
_SCALE = flags.DEFINE_enum("scale", "small", ["tiny", "small"], "Sizes, of configs/musicgen.py.")
_CONTEXT = flags.DEFINE_integer("context", 512, "Frames of a window.")
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["1"], "Samples decoded, or windows trained on, together.")
_WEIGHTS = flags.DEFINE_list("weights", ["float32"], "Our weights in decoding: float32, int8, guided.")
_STEPS = flags.DEFINE_integer("steps", 4, "Frames of a timed run of decoding.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed runs; figures are their medians.")
_THREADS = flags.DEFINE_integer("threads", 0, "CPUs to use, on both sides; 0 is all that the process may use.")
_PEER = flags.DEFINE_bool("peer", True, "Also time transformers.")

GUIDANCE, TOP_K, TEXT_TOKENS, TEXT_WIDTH = 3.0, 250, 16, 768


def main() -> None:
    """Flags -> JSON lines."""
    flag_values.require_positive(_CONTEXT, _STEPS, _ROUNDS)
    sizes = flag_values.whole_numbers(_BATCH_SIZES)
    for name in _WEIGHTS.value:
        config.require(name in ("float32", "int8", "guided"), f"--weights={name}: must be float32, int8 or guided")
    timing.limit_threads(_THREADS.value)
    allocator.keep_memory()
    run = settings()
    for batch_size in sizes:
        with sides.apart(peer, run, batch_size) if _PEER.value else sides.NOBODY as (others, more):
            make = decoding if _WHAT.value == "decode" else training
            seconds = timing.interleaved(make(run, batch_size), _ROUNDS.value, others)
        for name in _WEIGHTS.value if _WHAT.value == "decode" else ["float32"]:
            print(json.dumps(report(run, batch_size, name, seconds) | more), flush=True)


def settings() -> config.MusicgenTraining:
    """The config of the flags, in float32, nothing computed twice."""
    run = musicgen_configs.get_config(f"scale={_SCALE.value}")
    model = run.model
    model.context, model.loss_chunk, model.codes_per_second = _CONTEXT.value, 0, 50.0
    model.text_width, model.text_tokens, model.transformer.remat = TEXT_WIDTH, TEXT_TOKENS, "none"
    run.training.compute_dtype, run.training.ema_decay = "float32", 0.0
    run.optimizer.name = "adamw"
    return run


def tensors(model: config.MusicgenConfig) -> dict[str, np.ndarray]:
    """Random weights under published names, the same in every process."""
    rng, found = np.random.default_rng(0), {}
    for tensor in musicgen_tensors.hugging_face(model):
        flat = len(tensor.shape) == 1
        values = rng.standard_normal(tensor.shape, np.float32) * np.float32(0.02)
        found[tensor.name] = values + 1 if flat and tensor.name.endswith("weight") else values
    return found


def text(batch_size: int) -> np.ndarray:
    """Vectors of texts, float32 [B, M, W]."""
    shape = batch_size, TEXT_TOKENS, TEXT_WIDTH
    return np.random.default_rng(1).standard_normal(shape, np.float32) * np.float32(0.2)


def weights(run: config.MusicgenTraining) -> tuple[modules.Functional, modules.Tree]:
    """The module, and `tensors` as its parameters."""
    functional = kinds.of(run).functional(run)
    table, shapes = musicgen_tensors.hugging_face(run.model), native.abstract(functional)["params"]
    return functional, jax.tree.map(jnp.asarray, musicgen_tensors.to_native(table, tensors(run.model), shapes))


def arrays(run: config.MusicgenTraining, batch_size: int) -> dict[str, np.ndarray]:
    """A batch."""
    model, rows = run.model, np.zeros(batch_size, np.int32)
    shape = batch_size, model.context, model.num_codebooks
    return {
        "codes": np.random.default_rng(2).integers(0, model.num_codes, shape, np.int32),
        "mask": np.ones(shape[:2], bool),
        "labels": np.zeros((batch_size, 0), np.int32),
        "start": rows,
        "length": rows + model.context,
        "text": text(batch_size),
        "text_mask": np.ones((batch_size, TEXT_TOKENS), bool),
    }


def decoding(run: config.MusicgenTraining, batch_size: int) -> sides.Programs:
    """Programs that decode `--steps` frames in the middle of the window, one for each type of weights."""
    model, batch = run.model, arrays(run, batch_size)
    functional, params = weights(run)
    position, end = model.context // 2, model.num_steps
    rows = np.zeros(batch_size, np.int32)
    drawn = logit_filters.Settings(
        temperature=np.ones((batch_size, model.context), np.float32),
        top_p=np.ones(batch_size, np.float32),
        top_k=rows + TOP_K,
        guidance=np.full(batch_size, GUIDANCE, np.float32),
    )
    draws = rows, rows + model.context, jax.random.split(jax.random.key(1), batch_size), rows, drawn
    told, programs = batch | {"guidance": drawn.guidance}, {}
    for kind in _WEIGHTS.value:
        module, own = guided(run, params) if kind == "guided" else (functional, params)
        own = int8.quantize(own, functional.declared) if kind == "int8" else own
        sample = decode.make_sample_window(module, guide_by=("text",))
        sizes = {"guided": kind != "guided", "length": end, "num_rows": end}
        fixed, caches = sample._begin((own, {}), told, position, **sizes)
        programs[kind] = _loop(sample, own, fixed, draws, position, batch["codes"], caches)
    return programs


def guided(run: config.MusicgenTraining, params: modules.Tree) -> tuple[modules.Functional, modules.Tree]:
    """The module that is told its guidance, as it is before it has learned what that means, and its parameters."""
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, guided_by=("text",)))
    functional = kinds.of(run).functional(run)
    return functional, guiding.begun(params, functional)


def _loop(sample, own, fixed, draws, position, codes, caches):
    """A program that decodes, and keeps what it writes for its next run."""
    pattern = patterns.of("delay", codes.shape[1], codes.shape[2])
    held = {"codes": jnp.array(pattern.placed(codes, -1)), "caches": caches}

    def run() -> object:
        held["codes"], held["caches"] = sample._advance(
            (own, {}), fixed, draws, position, position + _STEPS.value, **held
        )
        return held["codes"].block_until_ready()

    return run


def training(run: config.MusicgenTraining, batch_size: int) -> sides.Programs:
    """A program that is the step of `train_prior`."""
    run.data.batch_size = batch_size
    task, mesh = kinds.task(run), meshes.make_mesh(config.MeshConfig(), jax.devices()[:1])
    tx = optimizer.make_optimizer(run.optimizer, run.training.num_steps, task.functional.declared)
    current = state.initial_state(task, run.training, tx, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, current)
    batch = jax.tree.map(jnp.asarray, arrays(run, batch_size))
    train_step = step.make_train_step(task, tx, run.training, run.optimizer, shardings).lower(current, batch).compile()

    def train() -> float:
        nonlocal current
        current, metrics = train_step(current, batch)
        return float(metrics["loss"])

    return {"float32": train}


def peer(run: config.MusicgenTraining, batch_size: int) -> tuple[sides.Programs, dict[str, object]]:
    """The same through transformers and torch, for a process of its own.

    Raises:
      UserError: torch or transformers is not installed.
    """
    try:
        import torch

        from benchmarks import musicgen_torch
    except ImportError as error:
        raise UserError(f"--peer: {error}; install the extra: pip install 'musicgen_jax[parity]'") from error
    allocator.keep_memory()
    if _THREADS.value:
        torch.set_num_threads(_THREADS.value)
    model = musicgen_torch.Whole(run.model, tensors(run.model))
    if _WHAT.value == "decode":
        model.begin(text(batch_size), run.model.context // 2)
        return {"peer": lambda: model.run(_STEPS.value, GUIDANCE, TOP_K)}, {}
    pattern = patterns.of("delay", run.model.context, run.model.num_codebooks)
    placed = np.asarray(pattern.placed(arrays(run, batch_size)["codes"], run.model.num_codes))
    ids = np.moveaxis(np.pad(placed, ((0, 0), (1, 0), (0, 0)), constant_values=run.model.num_codes), 1, 2)
    told = text(batch_size)
    return {"peer": lambda: model.train(ids.astype(np.int64), told, run.optimizer.peak_learning_rate)}, {}


def report(run: config.MusicgenTraining, batch_size: int, name: str, seconds: dict[str, float]) -> dict[str, object]:
    """A line's keys from the median seconds of each program."""
    frames = batch_size * (_STEPS.value if _WHAT.value == "decode" else run.model.context)
    value, other = frames / seconds[name], frames / seconds["peer"] if "peer" in seconds else None
    packages = ("jax", "flax", *(("torch", "transformers") if _PEER.value else ()))
    return {
        "benchmark": f"musicgen_{_WHAT.value}",
        "value": value,
        "unit": "frames/s",
        "peer": other,
        "ratio_to_peer": value / other if other else None,
        "seconds": seconds[name],
        "scale": _SCALE.value,
        "batch_size": batch_size,
        "weights": name,
        "context": run.model.context,
        "device": jax.devices()[0].device_kind,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }


if __name__ == "__main__":
    cli.run(main)
