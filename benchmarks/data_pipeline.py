"""How much audio, and how many codes, does a core get ready for training in a second?

    python -m benchmarks.data_pipeline --files=DIR [--peer] [--codes=DIR --stream=top]

Prepares the recordings below --files in a temporary folder, and takes random clips of them out of Grain as training
a tokenizer does: records read and unpacked, cropped, converted, batched, put on the device. --codes are read as
training a prior does, windows of --context frames. Prints a JSON line for each: `value` is seconds of audio (or codes)
a second of this process's time over all its threads, so that other work on the machine does not count.

--peer is torch's DataLoader over the recordings themselves: soundfile seeks and reads the clip, soxr resamples it where
the rate is another. `ratio_to_peer` above 1: we are better.
"""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values
from musicgen_jax import config
from musicgen_jax.codes import code_dataset, code_shards
from musicgen_jax.command_line import cli
from musicgen_jax.data import audio_dataset, manifest, preparation
from musicgen_jax.data.sources import recordings
from musicgen_jax.sharding import meshes

_FILES = cli.define_path("files", None, "Folder of recordings, searched recursively.", required=True)
_CODES = cli.define_path("codes", None, "Folder written by extract_codes.")
_STREAM = flags.DEFINE_string("stream", "top", "Of --codes: whose windows are read.")
_CONTEXT = flags.DEFINE_integer("context", 512, "Of --codes: frames of a window.")
_PEER = flags.DEFINE_boolean("peer", False, "Also time torch's DataLoader over the same files.")
_SAMPLE_RATE = flags.DEFINE_integer("sample_rate", 22050, "Hz of the clips.")
_CLIP_SECONDS = flags.DEFINE_float("clip_seconds", 4.0, "Length of a clip.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Clips or windows of a batch.")
_BATCHES = flags.DEFINE_integer("batches", 100, "That are timed, after as many as Grain reads ahead.")
WARM_UP_BATCHES = 20


def main() -> None:
    """Flags -> a JSON line or two."""
    flag_values.require_positive(_BATCH_SIZE, _BATCHES, _CONTEXT, _SAMPLE_RATE)
    config.require(_CLIP_SECONDS.value > 0, f"--clip_seconds={_CLIP_SECONDS.value}: must be greater than 0")
    with tempfile.TemporaryDirectory() as folder:
        paths = _prepare(folder)
        samples = round(_CLIP_SECONDS.value * _SAMPLE_RATE.value)
        data = config.DataConfig(path=folder, batch_size=_BATCH_SIZE.value)
        batches_from = audio_dataset.training_batches(f"{folder}/audio", samples, data, meshes.single_device_mesh())
        ours = _rate(batches_from(0), _BATCH_SIZE.value * _CLIP_SECONDS.value)
    line = {"benchmark": "data_pipeline", "value": ours, "unit": "seconds of audio/core-s"}
    if _PEER.value:
        peer = _rate(_peer_batches(paths, samples), _BATCH_SIZE.value * _CLIP_SECONDS.value)
        line |= {"peer": peer, "ratio_to_peer": ours / peer}
    print(json.dumps(line | {"files": len(paths), "clip_seconds": _CLIP_SECONDS.value}), flush=True)
    if _CODES.value:
        codes = _rate(*_code_batches())
        print(json.dumps({"benchmark": "data_pipeline", "value": codes, "unit": "codes/core-s"}))


def _prepare(folder: str) -> list[pathlib.Path]:
    """The recordings of the training split, which are now in FOLDER/audio."""
    settings = preparation.Settings("recordings", _FILES.value, _SAMPLE_RATE.value, seed=0)
    with contextlib.redirect_stdout(io.StringIO()):
        preparation.prepare(settings, recordings, f"{folder}/audio", num_workers=0)
    rows = [row for row in manifest.read(f"{folder}/audio") if row.status == "ok" and row.split == "train"]
    return [pathlib.Path(_FILES.value) / row.path for row in rows]


def _rate(batches: Iterator[object], of_batch: float) -> float:
    """How much of what a batch has `of_batch` comes in a second of this process's time."""
    for _ in range(WARM_UP_BATCHES):
        next(batches)
    start = time.process_time()
    for _ in range(_BATCHES.value):
        next(batches)
    return _BATCHES.value * of_batch / (time.process_time() - start)


def _code_batches() -> tuple[Iterator[object], float]:
    """(batches of windows, codes in each)."""
    stream = code_shards.read_facts(_CODES.value).layout.stream(_STREAM.value)
    model = config.PriorConfig(tier=_STREAM.value, context=_CONTEXT.value)
    data = config.DataConfig(path=_CODES.value, batch_size=_BATCH_SIZE.value)
    run = config.PriorTraining(model=code_dataset.resolve(model, _CODES.value), data=data)
    batches = code_dataset.training_batches(run, meshes.single_device_mesh())(0)
    return batches, float(_BATCH_SIZE.value * _CONTEXT.value * stream.num_codebooks)


def _peer_batches(paths: list[pathlib.Path], num_samples: int) -> Iterator[object]:
    """Endless batches of torch's DataLoader, in this process, as float32 [B, num_samples]."""
    try:
        import torch
    except ImportError:
        config.require(False, "--peer needs torch, which is not installed: pip install '.[parity]'")
    from benchmarks import data_pipeline_torch

    torch.manual_seed(0)
    clips = data_pipeline_torch.Clips(paths, num_samples, _SAMPLE_RATE.value)
    while True:
        yield from torch.utils.data.DataLoader(clips, batch_size=_BATCH_SIZE.value, shuffle=True, drop_last=True)


if __name__ == "__main__":
    cli.run(main)
