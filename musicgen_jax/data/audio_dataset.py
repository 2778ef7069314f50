"""What a tokenizer is trained on: random clips of the tracks in audio shards; and whole tracks, block by block."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grain
import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.data import audio_io, loader, lyrics, manifest, shards
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.scores import excerpts


def read_clip(
    records: Any, index: int, position: int, num_samples: int, record: dict[str, Any] | None = None
) -> np.ndarray:
    """Samples [position, position + num_samples) of the track that record `index` belongs to.

    A track's segments lie next to each other in the shards, so a clip may begin before the record and go on in the
    following ones. A track shorter than the clip is padded with zeros at its end.

    Args:
      records: random-access split of audio shards.
      index: a record of the track.
      position: first sample, counted from the start of the track; the clip must end by the track's end, or begin at 0.
      num_samples: length of the clip.
      record: number `index`, where it has been read: that is what takes the time.

    Returns:
      float32 [num_samples] in [-1, 1).
    """
    record = records[index] if record is None else record
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
    """Record index -> {"audio": float32 [num_samples]}, a random clip of the split.

    Tracks are drawn in proportion to their length; one that is shorter than a clip counts as long as a clip, with the
    silence that pads it. The clip's start is uniform in [0, track - clip].
    """

    def __init__(self, records: Any, num_samples: int, sample_rate: int):
        """Args:
        records: random-access split of audio shards.
        num_samples: length of a clip.
        sample_rate: Hz, of the shards.
        """
        self._records, self._num_samples = records, num_samples
        self._most = max(shards.longest_segment(sample_rate), num_samples)

    def random_map(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        record = self._records[index]
        # A record stands for as much of its track as it holds. Segments are of unequal length, so some are refused, and
        # others drawn in their place, until what is left is drawn in proportion to it.
        while rng.random() * self._most >= self._weight(record):
            index = int(rng.integers(len(self._records)))
            record = self._records[index]
        start = self.start(record, rng.random())
        return {"audio": read_clip(self._records, index, start, self._num_samples, record)}

    def start(self, record: dict[str, Any], share: float) -> int:
        """First sample of the clip that lies in its track as the point `share` in [0, 1) of the record does."""
        last = max(record["track_samples"] - self._num_samples, 0)
        place = (record["start"] + share * len(record["audio"])) / record["track_samples"]
        return min(int(place * (last + 1)), last)  # `place` may have been rounded up to 1

    def _weight(self, record: dict[str, Any]) -> float:
        """How often the record is drawn, relative to others: its samples, and the silence that pads a short track."""
        return len(record["audio"]) * max(1.0, self._num_samples / record["track_samples"])


def training_batches(
    directory: str, num_samples: int, data: config.DataConfig, mesh: jax.sharding.Mesh
) -> Callable[[int], Iterator[loader.Batch]]:
    """`batches_from(step)` over random clips of the train split: {"audio": float32 [B, num_samples]}."""
    source, transform = random_clips(directory, "train", num_samples)
    return loader.training_batches(source, transform, data, mesh)


def random_clips(directory: str, split: str, num_samples: int) -> tuple[range, RandomClip]:
    """(what an epoch goes through, what turns each of it into a clip), as `loader.training_dataset` takes them."""
    records = shards.open_split(directory, split, shards.audio_features())
    return range(len(records)), RandomClip(records, num_samples, shards.read_metadata(directory)["sample_rate"])


def validation_batches(
    directory: str, num_samples: int, data: config.DataConfig, num_batches: int, mesh: jax.sharding.Mesh
) -> Callable[[], Iterator[loader.Batch]]:
    """The same clips every time, one for each of evenly spaced records of the validation split, spread over its track.

    A dataset without a validation split gives no batches.
    """
    if "validation" not in shards.split_names(directory):
        return lambda: iter(())
    records = shards.open_split(directory, "validation", shards.audio_features())
    transform = RandomClip(records, num_samples, shards.read_metadata(directory)["sample_rate"])

    def batches() -> Iterator[loader.Batch]:
        indices = loader.evenly_spaced(len(records), num_batches * data.batch_size)
        clips = [{"audio": read_clip(records, i, transform.start(records[i], 0.0), num_samples)} for i in indices]
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
        raise NotFoundError(f"{directory} holds no audio; pass a folder that prepare_data wrote")
    if found != sample_rate:
        raise UserError(
            f"{directory} has a sample rate of {found} Hz but the model wants {sample_rate} Hz: run prepare_data with "
            f"`sample_rate`={sample_rate}, or set --config.model.sample_rate={found}"
        )


class TrackPlace(NamedTuple):
    """Where a track lies among the records of its split.

    Attributes:
      track_id, labels: its.
      num_samples: of its audio.
      first: number of its first record.
      num_records: of it; they follow each other.
    """

    track_id: str
    labels: dict[str, str]
    num_samples: int
    first: int
    num_records: int


def find_tracks(directory: str, split: str) -> Iterator[TrackPlace]:
    """The tracks of a split in order; a record of each is read."""
    records = shards.open_split(directory, split, shards.audio_features())
    sample_rate = shards.read_metadata(directory)["sample_rate"]
    index = 0
    while index < len(records):
        record = records[index]
        num_samples = record["track_samples"]
        count = len(shards.segment_bounds(num_samples, sample_rate))
        yield TrackPlace(record["track_id"].decode(), shards.labels_of(record), num_samples, index, count)
        index += count


def facts_of(records: Any, first: int, directory: str) -> dict[str, Any]:
    """What is known of the track whose first record is number `first` of an audio dataset's split.

    That is its track_id (str), labels (label -> value) and track_samples (int), in a data set with scores `notes` as
    well, float32 [N, 5] in seconds of the track, in one with lyrics `lyrics`, a `data.lyrics.Lyrics`.
    """
    record, index = records[first], first
    facts = {"track_id": record["track_id"].decode(), "labels": shards.labels_of(record)}
    facts["track_samples"] = record["track_samples"]
    notes, words = [], []
    while "notes" in record or "lyric_times" in record:
        notes += [record["notes"]] if "notes" in record else []
        words += [shards.lyrics_of(record, directory)] if "lyric_times" in record else []
        index += 1
        if record["start"] + len(record["audio"]) >= facts["track_samples"]:
            break
        record = records[index]
    facts |= {"notes": excerpts.joined(notes)} if notes else {}
    return facts | ({"lyrics": lyrics.joined(words)} if words else {})


def read_tracks(directory: str, split: str) -> Iterator[tuple[dict[str, Any], Iterator[np.ndarray]]]:
    """Tracks of a split in order, each as (facts, blocks of float32 audio); facts as `facts_of`.

    The blocks of a track must be used up before the next track is asked for.
    """
    records = shards.open_split(directory, split, shards.audio_features())

    def blocks(place: TrackPlace) -> Iterator[np.ndarray]:
        for index in range(place.first, place.first + place.num_records):
            yield audio_io.from_int16(records[index]["audio"])

    for place in find_tracks(directory, split):
        yield facts_of(records, place.first, directory), blocks(place)
