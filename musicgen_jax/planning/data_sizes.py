"""Bytes on disk and in a host's memory that hours of music take: prepared, as codes, in training, in checkpoints.

Disk is counted without compression. Audio is stored so; ArrayRecord makes codes the smaller the fewer there are. What a
process takes by itself was measured on Linux with CPython 3.11, on CPUs.
"""

import dataclasses
import math
from typing import Any

import jax

from musicgen_jax import config, kinds
from musicgen_jax.codes.layout import Layout
from musicgen_jax.planning import memory, workload
from musicgen_jax.training import state

SEGMENT_SECONDS = 10.0  # of a record
RECORD_BYTES = 400  # of a record beside its arrays: name, labels and place, and what ArrayRecord adds
SHARD_RECORDS, SHARD_BYTES = 512, 2**16  # records of a file; to a multiple of which it is filled up
TRACK_BYTES = 1000  # of a track in manifest.jsonl and tracks.jsonl, and in memory as a row of them
NOTES_PER_SECOND, NOTE_BYTES = 8.0, 20  # of a score: dense piano music; five float32
# prepare_data's process, 226 to 310 MB by the releases of the libraries, and each that decodes for it
PREPARER_BYTES, WORKER_BYTES = 265e6, 220e6
SPLITS = 3
TRAINER_BYTES = 1.8e9  # a process of JAX, its compiler and the step of a tiny model among it, as measured on a CPU
READER_BYTES = 150e6  # a worker of Grain's
PREFETCHED = 16  # batches that Grain reads ahead, in the trainer or in each worker
CODEC_BLOCKS = 8  # windows of ten seconds that extract_codes has in memory
MAX_HOURS = 1e8


@dataclasses.dataclass(frozen=True)
class Collection:
    """Music to train on.

    Attributes:
      hours: of it.
      track_seconds: mean length of a track.
      processes: that decode it, on one host; 0 where prepare_data does it alone.
    """

    hours: float
    track_seconds: float = workload.TRACK_SECONDS
    processes: int = 1

    def __post_init__(self) -> None:
        config.require(0 < self.hours <= MAX_HOURS, f"`hours`={self.hours:g}: must be in (0, {MAX_HOURS:g}]")
        config.require(
            0 < self.track_seconds < math.inf, f"`track_seconds`={self.track_seconds:g}: must be greater than 0"
        )

    @property
    def seconds(self) -> float:
        return 3600 * self.hours

    @property
    def tracks(self) -> int:
        return math.ceil(self.seconds / self.track_seconds)

    @property
    def records(self) -> int:
        """Segments of about ten seconds; a shorter track is one."""
        return max(math.ceil(self.seconds / SEGMENT_SECONDS), self.tracks)


def sizes(work: workload.Workload, music: Collection) -> dict[str, Any]:
    """What a run's data take.

    Of a tokenizer the audio at its rate and the codes that it makes; of a prior audio and codes of the tokenizer that
    makes its stream, by default; of a composer scores.

    Returns:
      JSON: "hours", "tracks", "records"; "prepare" {"disk_bytes", "disk_bytes_meanwhile": while parts and shards are
      both there, "host_bytes"}; "extract" the first and the last of these, absent for composers; "train"
      {"disk_bytes": of what it reads, which is also what a machine copies from a bucket, "host_bytes": of each host,
      the state of the model aside}.
    """
    kind = kinds.of(work.run)
    found: dict[str, Any] = {"hours": music.hours, "tracks": music.tracks, "records": music.records}
    if kind.data == "scores":
        prepared = _on_disk(music, NOTES_PER_SECOND * NOTE_BYTES, records=music.tracks)
        found["prepare"] = _preparing(music, prepared)
        read = prepared
    else:
        layout = _layout(work)
        prepared = _on_disk(music, 2.0 * layout.sample_rate)
        codes = _on_disk(music, sum(_code_bytes_per_second(layout).values()))
        found["prepare"] = _preparing(music, prepared)
        found["extract"] = {"disk_bytes": codes, "host_bytes": _extracting(layout, music)}
        read = prepared if kind.data == "audio" else codes
    return found | {"train": {"disk_bytes": read, "host_bytes": _training(work, music)}}


def checkpoint(abstract: state.TrainState, run: workload.Run) -> dict[str, float]:
    """What checkpoints take.

    Returns:
      JSON: "disk_bytes" of one; "kept_disk_bytes" of all that are kept and the one that is being written;
      "host_bytes_per_chip": what a host holds for each of its chips while one is written, beside all else.
    """
    one = state_bytes(abstract)
    return {
        "disk_bytes": one,
        "kept_disk_bytes": one * (run.training.keep_checkpoints + 1),
        "host_bytes_per_chip": memory.bytes_per_chip(abstract),
    }


def state_bytes(abstract: state.TrainState) -> int:
    """Of the whole state: parameters, buffers, moving average, optimizer."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract))


def _layout(work: workload.Workload) -> Layout:
    kind = kinds.of(work.run)
    return kind.layout(work.run.model, "stand-in") if kind.layout else workload.layout_with(work.run.model.tier)


def _code_bytes_per_second(layout: Layout) -> dict[str, float]:
    """Of each stream: int16 codes, one a codebook and frame."""
    return {one.name: 2.0 * one.num_codebooks * layout.frames_per_second(one.name) for one in layout.streams}


def _on_disk(music: Collection, bytes_per_second: float, records: int = 0) -> int:
    records = records or music.records
    shards = math.ceil(records / SHARD_RECORDS) + SPLITS - 1  # the last one of each is not full
    beside = records * RECORD_BYTES + shards * SHARD_BYTES + music.tracks * TRACK_BYTES
    return round(music.seconds * bytes_per_second + beside)


def _preparing(music: Collection, prepared: int) -> dict[str, float]:
    host = PREPARER_BYTES + music.processes * WORKER_BYTES + music.tracks * TRACK_BYTES
    return {"disk_bytes": prepared, "disk_bytes_meanwhile": 2 * prepared, "host_bytes": round(host)}


def _extracting(layout: Layout, music: Collection) -> int:
    windows = CODEC_BLOCKS * SEGMENT_SECONDS * layout.sample_rate * 4
    return round(TRAINER_BYTES + windows + music.tracks * TRACK_BYTES)


def _training(work: workload.Workload, music: Collection) -> int:
    batch = sum(math.prod(one.shape) * one.dtype.itemsize for one in work.task.batch.values())
    readers = work.run.data.num_workers
    index = music.tracks * TRACK_BYTES + music.records * 8
    return round(TRAINER_BYTES + readers * READER_BYTES + max(readers, 1) * PREFETCHED * batch + (readers + 1) * index)
