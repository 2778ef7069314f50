"""How long does a whole evaluation take, part by part, and how much memory?

    python -m benchmarks.evaluation --clips=100 --seconds=10

Recordings are Bach chorales, cut to `--seconds`, as the synthesizer plays them; samples are other chorales of theirs,
with their scores; the tokenizer is one of scale `tiny` with random weights. All of it is evaluated as `evaluate` does:
reconstruction, codebooks, distances, structure, scores and the page. Before it, one clip of each timbre is, so that
nothing is compiled any more. Prints a JSON line: `value` is seconds, `cpu_seconds` what all cores worked, `parts` the
seconds of the parts; `peak_bytes` of the process, and `growth_bytes` by how much that is more than after those clips.
"""

import functools
import json
import multiprocessing
import pathlib
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values, timing
from musicgen_jax.command_line import cli

_CLIPS = flags.DEFINE_integer("clips", 100, "Held-out recordings, and samples.")
_SECONDS = flags.DEFINE_float("seconds", 10.0, "Of each.")
_THREADS = flags.DEFINE_integer("threads", 2, "CPUs; 0: all.")
SAMPLE_RATE = 16_000
WARM_UP_CLIPS = 4  # one of each timbre
PARTS = {
    "reconstruction and codebooks": ("tokenizer_quality", "evaluate_tokenizer"),
    "distances": ("sample_quality", "distances"),
    "structure": ("structure", "of_clips"),
    "scores": ("score_quality", "judge"),
    "page": ("evaluation", "write"),
}


def main() -> None:
    """Flags -> a JSON line."""
    flag_values.require_positive(_CLIPS, _SECONDS)
    timing.limit_threads(_THREADS.value)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, count in (("warm", WARM_UP_CLIPS), ("whole", _CLIPS.value)):
            making = multiprocessing.get_context("spawn").Process(
                target=make, args=(root / name, count, _SECONDS.value)
            )
            making.start()
            making.join()
            if making.exitcode:
                raise SystemExit("the clips could not be made")
        tokenizer = random_tokenizer()
        seconds = timed_parts()
        evaluate(tokenizer, root / "warm")
        before, _ = peak_bytes(), seconds.clear()
        start, cpu = time.perf_counter(), time.process_time()
        evaluate(tokenizer, root / "whole")
        line = {"benchmark": "evaluation", "value": time.perf_counter() - start, "unit": "s", "clips": _CLIPS.value}
    line |= {"cpu_seconds": time.process_time() - cpu, "parts": seconds}
    print(json.dumps(line | {"peak_bytes": peak_bytes(), "growth_bytes": peak_bytes() - before}))


def evaluate(tokenizer: Any, root: pathlib.Path) -> None:
    """One evaluation of the clips in a folder."""
    from musicgen_jax.evaluation import evaluation

    settings = evaluation.Settings(str(root / "data"), str(root / "samples"))
    evaluation.evaluate(tokenizer, {}, settings, {}, str(root / "out"))


def timed_parts() -> dict[str, float]:
    """Part -> its seconds, and CPU seconds of all threads meanwhile, which grow as the evaluation calls it."""
    import importlib

    seconds: dict[str, float] = {}
    for part, (name, function) in PARTS.items():
        module = importlib.import_module(f"musicgen_jax.evaluation.{name}")
        setattr(module, function, _timed(getattr(module, function), part, seconds))
    return seconds


def _timed(function: Any, part: str, seconds: dict[str, float]) -> Any:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        before = time.perf_counter(), time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            for name, start, now in zip(
                (part, f"{part}, CPU"), before, (time.perf_counter(), time.process_time()), strict=True
            ):
                seconds[name] = seconds.get(name, 0.0) + now - start

    return run


def random_tokenizer() -> Any:
    """A VQ-VAE of scale tiny, not trained."""
    import jax

    from configs import vqvae
    from musicgen_jax import kinds
    from musicgen_jax.tokenizers.vqvae import vqvae_tokenizer

    run = vqvae.tiny()
    weights = kinds.KINDS["vqvae"].functional(run).init(jax.random.key(0))
    return vqvae_tokenizer.VQVAETokenizer(run.model, *weights)


def make(root: pathlib.Path, count: int, seconds: float) -> None:
    """Writes ROOT/data, a data set with nothing but held-out tracks, and ROOT/samples. In a process of its own: what it
    takes of memory is not the evaluation's."""
    import dataclasses

    from musicgen_jax.data import preparation
    from musicgen_jax.data.sources import chorales
    from musicgen_jax.runtime import files
    from musicgen_jax.sampling import output
    from musicgen_jax.scores import midi

    tracks, _ = chorales.tracks("", SAMPLE_RATE, 0, 0, count + 1)
    cut = [
        dataclasses.replace(
            one,
            blocks=functools.partial(beginning, one.blocks, round(seconds * SAMPLE_RATE)),
            score=one.score.clipped(seconds),
            duration=seconds,
            split="test",
        )
        for one in tracks
    ]
    source = types.SimpleNamespace(tracks=lambda *_: (cut[:count], []))
    preparation.prepare(preparation.Settings("chorales", "", SAMPLE_RATE, 0), source, str(root / "data"), 0)
    folder = root / "samples"
    folder.mkdir()
    rows = []
    for index, one in enumerate(cut[1:]):
        audio = np.concatenate(list(one.blocks()))
        row = output.write_sample(folder, f"{index:03d}.wav", audio, SAMPLE_RATE, score=one.score)
        row |= {"score": f"{index:03d}.mid", "genre": one.labels["genre"], "index": index}
        (folder / row["score"]).write_bytes(midi.to_bytes(one.score))
        rows.append(row)
    files.write_json(folder / "samples.json", {"request": {}, "sample_rate": SAMPLE_RATE, "samples": rows})


def beginning(blocks: Any, num_samples: int) -> Iterator[np.ndarray]:
    """The first samples of a track's blocks."""
    yield np.concatenate(list(blocks()))[:num_samples]


def peak_bytes() -> int:
    """Of this process so far."""
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024


if __name__ == "__main__":
    cli.run(main)
