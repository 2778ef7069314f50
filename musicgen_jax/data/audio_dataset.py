"""Audio shards -> training clips."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import grain
import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.data import audio_io, loader, manifest, shards
from musicgen_jax.errors import NotFoundError, UserError


def read_clip(records: Any, index: int, position: int, num_samples: int) -> np.ndarray:
    """Samples [position, position + num_samples) of the track that record `index` belongs to.

    A track's segments lie next to each other in the shards, so a clip may begin before the record and go on in the
    following ones. A track shorter than the clip is padded with zeros at its end.

    Args:
      records: random-access split of audio shards.
      index: a record of the track.
      position: first sample, counted from the start of the track; moved back if the clip would pass the track's end.
      num_samples: length of the clip.

    Returns:
      float32 [num_samples] in [-1, 1).
    """
    record = records[index]
    position = max(0, min(position, record["track_samples"] - num_samples))
    while record["start"] > position:
        index -= 1
        record = records[index]
    clip = np.zeros(num_samples, np.int16)
    filled = 0
    while filled < num_samples:
        offset = position + filled - record["start"]
        part = record["audio"][offset : offset + num_samples - filled]
        clip[filled : filled + len(part)] = part
        filled += len(part)
        if record["start"] + len(record["audio"]) >= record["track_samples"]:
            break  # the track ends here: the rest stays silent
        index += 1
        record = records[index]
    return audio_io.from_int16(clip)


class RandomClip(grain.transforms.RandomMap):
    """Record index -> {"audio": float32 [num_samples]} that begins at a random sample of that record."""

    def __init__(self, records: Any, num_samples: int):
        self._records, self._num_samples = records, num_samples

    def random_map(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        record = self._records[index]
        position = record["start"] + int(rng.integers(len(record["audio"])))
        return {"audio": read_clip(self._records, index, position, self._num_samples)}


def training_batches(
    directory: str, num_samples: int, data: config.DataConfig, mesh: jax.sharding.Mesh
) -> Callable[[int], Iterator[loader.Batch]]:
    """`batches_from(step)` over random clips of the train split: {"audio": float32 [B, num_samples]}."""
    records = shards.open_split(directory, "train")
    return loader.training_batches(range(len(records)), RandomClip(records, num_samples), data, mesh)


def validation_batches(
    directory: str, num_samples: int, data: config.DataConfig, num_batches: int, mesh: jax.sharding.Mesh
) -> Callable[[], Iterator[loader.Batch]]:
    """The same clips every time, one from the start of each of evenly spaced records of the validation split.

    A dataset without a validation split gives no batches.
    """
    if "validation" not in shards.split_names(directory):
        return lambda: iter(())
    records = shards.open_split(directory, "validation")

    def batches() -> Iterator[loader.Batch]:
        indices = loader.evenly_spaced(len(records), num_batches * data.batch_size)
        clips = [{"audio": read_clip(records, i, records[i]["start"], num_samples)} for i in indices]
        return loader.fixed_batches(clips, data.batch_size, mesh)

    return batches


def check_sample_rate(directory: str, sample_rate: int) -> None:
    """Checks that `directory` holds audio shards that a model of that sample rate (Hz) can take.

    Raises:
      NotFoundError: no dataset there, or one of something else than audio.
      UserError: the shards have another sample rate.
    """
    found = shards.read_metadata(directory)["sample_rate"]
    if not (pathlib.Path(directory) / manifest.FILE_NAME).is_file():
        raise NotFoundError(f"{directory} holds no audio; pass the --out of prepare_data")
    if found != sample_rate:
        raise UserError(
            f"{directory} has a sample rate of {found} Hz but the model wants {sample_rate} Hz: run prepare_data with "
            f"--sample_rate={sample_rate}, or set --config.model.sample_rate={found}"
        )


def read_tracks(directory: str, split: str) -> Iterator[tuple[dict[str, Any], Iterator[np.ndarray]]]:
    """Tracks of a split in order, each as (facts, blocks of float32 audio).

    Facts are track_id, genre, artist (str) and track_samples (int). The blocks of a track must be used up before the
    next track is asked for.
    """
    records = shards.open_split(directory, split)
    sample_rate = shards.read_metadata(directory)["sample_rate"]
    index = 0

    def blocks(first: int, count: int) -> Iterator[np.ndarray]:
        for i in range(first, first + count):
            yield audio_io.from_int16(records[i]["audio"])

    while index < len(records):
        record = records[index]
        facts = {name: record[name].decode() for name in ("track_id", "genre", "artist")}
        facts["track_samples"] = record["track_samples"]
        count = len(shards.segment_bounds(record["track_samples"], sample_rate))
        yield facts, blocks(index, count)
        index += count
