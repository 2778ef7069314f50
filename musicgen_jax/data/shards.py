"""ArrayRecord shards in TFDS's container, read without TensorFlow: what records have, and splits of them.

`tfds.builder_from_directory(DIR).as_data_source(SPLIT)` reads them too; `shard_files` writes them. Audio is an int16
`Tensor`, not `tfds.features.Audio`, which needs TensorFlow even for reading.
"""

import bisect
import contextlib
import itertools
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from musicgen_jax.data.lyrics import Lyrics
from musicgen_jax.runtime import buckets, files, records
from musicgen_jax.runtime.errors import NotFoundError, UserError

CONTAINER_FILES = ("dataset_info.json", "features.json", "metadata.json")
MAX_SAMPLE_RATE = 768_000  # Hz
REMEDY = "copy the dataset again, or make it again"
SEGMENT_SECONDS = 10.0
MIN_REST_SECONDS = 1.0


def audio_features(
    labels: Sequence[str] = (), scores: bool = False, lyrics: bool = False
) -> tfds.features.FeaturesDict:
    """The features of one segment of a track; `start` and `track_samples` count samples at the dataset's rate.

    `labels` has a text a label, in all records the same ones: see `labels_of`.
    In data sets with scores, as their metadata say, a segment has the `notes`, [N, 5], that sound within it: see
    `scores.score.Score.notes`. Their times are those in the track, so a note stands in all the segments it sounds in.
    In data sets with lyrics it has those that begin within it, `lyrics`, and the second of the track at which each
    character does, `lyric_times`, [N].
    """
    notes = {"notes": notes_feature()} if scores else {}
    words = {"lyrics": tfds.features.Text(), "lyric_times": lyric_times_feature()} if lyrics else {}
    return tfds.features.FeaturesDict(
        notes
        | words
        | {
            "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
            "track_id": tfds.features.Text(),
            "segment": np.int64,
            "start": np.int64,
            "track_samples": np.int64,
        }
        | label_features(labels)
    )


def notes_feature() -> tfds.features.Tensor:
    """Rows of `scores.score.Score.notes`."""
    return tfds.features.Tensor(shape=(None, 5), dtype=np.float32, encoding="bytes")


def lyric_times_feature() -> tfds.features.Tensor:
    """`data.lyrics.Lyrics.times`."""
    return tfds.features.Tensor(shape=(None,), dtype=np.float32, encoding="bytes")


def lyric_fields(lyrics: Lyrics) -> dict[str, Any]:
    """Lyrics as the two fields of a record."""
    return {"lyrics": lyrics.text, "lyric_times": lyrics.times}


def lyrics_of(record: Mapping[str, Any], where: str) -> Lyrics:
    """The lyrics of a record of a data set that has some. Raises UserError where they are damaged."""
    text, times = record["lyrics"].decode(errors="replace"), np.asarray(record["lyric_times"])
    sound = len(text) == len(times) and bool(np.isfinite(times).all() and (np.diff(times) >= 0).all())
    if not sound:
        raise UserError(f"{where}: a record has {len(text)} characters of lyrics and {len(times)} times: {REMEDY}")
    return Lyrics(text, times)


def score_features(labels: Sequence[str] = ()) -> tfds.features.FeaturesDict:
    """The features of a record of a data set without audio: the notes of a whole track."""
    return tfds.features.FeaturesDict(
        {"track_id": tfds.features.Text(), "notes": notes_feature()} | label_features(labels)
    )


def label_features(names: Sequence[str]) -> dict[str, tfds.features.FeaturesDict]:
    """{"labels": a text for each of these labels}, of any record; nothing where there are none."""
    return {"labels": tfds.features.FeaturesDict({name: tfds.features.Text() for name in names})} if names else {}


def labels_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Label -> value, of a record as it was read; "unknown" where a track has none of a label that others have."""
    # Older folders had two, each a feature by itself.
    found = record.get("labels", {name: record[name] for name in ("genre", "artist") if name in record})
    return {name: text.decode() for name, text in found.items()}


def segment_bounds(num_samples: int, sample_rate: int) -> list[tuple[int, int]]:
    """Cuts a track into consecutive (start, stop) of 10 s; a rest shorter than 1 s stays with the segment before it."""
    length = round(SEGMENT_SECONDS * sample_rate)
    starts = list(range(0, num_samples, length))
    if len(starts) > 1 and num_samples - starts[-1] < MIN_REST_SECONDS * sample_rate:
        starts.pop()
    return list(zip(starts, [*starts[1:], num_samples], strict=True))


def longest_segment(sample_rate: int) -> int:
    """How many samples a segment of `segment_bounds` has at most."""
    return math.ceil((SEGMENT_SECONDS + MIN_REST_SECONDS) * sample_rate)


class Records(Sequence):
    """Records of a split in the order of writing: text as bytes, scalars as int, arrays as NumPy arrays. Picklable.

    ArrayRecord compares checksums: a record that is not what was written raises UserError, which names the shard.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str) -> None:
        with _described(builder.data_path):
            info = builder.info.splits[split]
            self._paths = [os.fspath(path) for path in info.filepaths]
            self._ends = list(itertools.accumulate(info.shard_lengths))
            self._source = builder.as_data_source(split)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        with files.reading(self._paths[bisect.bisect_right(self._ends, index)], REMEDY):
            return self._source[index]


def open_split(
    directory: str | os.PathLike[str], split: str, features: tfds.features.FeaturesDict | None = None
) -> Records:
    """Opens a split for random access.

    Args:
      directory: of the dataset.
      split: whose records.
      features: that a record must have; None takes any.

    Raises:
      NotFoundError: no such directory, or no complete dataset in it.
      UserError: the split has no record, the records are others, or the dataset is damaged.
    """
    known = split_sizes(directory)
    if split not in known:
        listing = ", ".join(f"{name} ({count} records)" for name, count in known.items())
        raise UserError(f"{directory} has no records in split {split!r}; it has {listing}")
    builder = _builder(directory)
    found = dict(builder.info.features.items())
    for name, feature in (features or {}).items():
        if name not in found or (found[name].np_dtype, found[name].shape) != (feature.np_dtype, feature.shape):
            raise UserError(f"{directory}/features.json: a record has no {name} as it must be: {REMEDY}")
    return Records(builder, split)


def split_sizes(directory: str | os.PathLike[str]) -> dict[str, int]:
    """Number of records of each split that has any. Raises as `open_split`."""
    return {name: info.num_examples for name, info in _builder(directory).info.splits.items() if info.num_examples}


def split_names(directory: str | os.PathLike[str]) -> list[str]:
    """The splits that have records. Raises as `open_split`."""
    return list(split_sizes(directory))


def read_metadata(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The facts that the writer was given about the whole dataset, among them its `sample_rate` in Hz.

    Raises as `open_split`.
    """
    path = _prepared(directory) / "metadata.json"
    facts = files.read_json(path)
    sample_rate = records.check(int, facts.get("sample_rate"), f"{path}: sample_rate")
    if not 0 < sample_rate <= MAX_SAMPLE_RATE:
        raise UserError(f"{path} is damaged: sample_rate is {sample_rate} and must be in (0, {MAX_SAMPLE_RATE}]")
    return facts


def label_names(directory: str | os.PathLike[str]) -> tuple[str, ...]:
    """The labels that the records have, in the order of the alphabet. Raises as `open_split`."""
    found = _builder(directory).info.features
    return tuple(sorted(found["labels"])) if "labels" in found else tuple(sorted({"genre", "artist"} & set(found)))


def is_complete(directory: str | os.PathLike[str]) -> bool:
    """Whether the directory holds a dataset, as opposed to nothing, something else, or what an interruption left."""
    return all((pathlib.Path(directory) / name).is_file() for name in CONTAINER_FILES)


def _builder(directory: str | os.PathLike[str]) -> tfds.core.DatasetBuilder:
    path = _prepared(directory)
    with _described(path):
        return tfds.builder_from_directory(os.fspath(path))


def _described(directory: str | os.PathLike[str]) -> contextlib.AbstractContextManager[None]:
    """A context in which what TFDS raises about a dataset's two descriptions becomes a UserError that names them."""
    return files.reading(f"{os.fspath(directory)}: {' or '.join(CONTAINER_FILES[:2])}", REMEDY)


def _prepared(directory: str | os.PathLike[str]) -> pathlib.Path:
    path = pathlib.Path(buckets.fetched(directory))
    if not path.is_dir():
        raise NotFoundError(f"no such dataset directory: {directory}; check the path, or prepare it first")
    missing = [name for name in CONTAINER_FILES if not (path / name).is_file()]
    if missing:
        raise NotFoundError(f"{directory} holds no prepared dataset ({', '.join(missing)} missing); prepare it first")
    return path
