"""The codes of a data set as work that any number of processes share: files of records, each made by itself.

A file holds some hundred records, and begins and ends where these do, within a track as well. Who writes it encodes
the windows that its records lie in, which are those that the whole track is cut into: so a file is the same whoever
writes it, and whatever else that process writes.
"""

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from musicgen_jax.codes import code_shards
from musicgen_jax.data import audio_dataset, manifest, output_folder, score_facts, shard_files, shards
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.progress_report import Progress
from musicgen_jax.tokenizers import batched
from musicgen_jax.tokenizers.chunked import Encoder, Span, Window

PLAN_NAME = "tracks.jsonl"  # in the spool
CACHED_RECORDS = 4  # of audio: windows overlap


@dataclasses.dataclass(frozen=True)
class Source:
    """A track of audio whose codes are wanted.

    Attributes:
      entry: its row in the index of the codes.
      first: number of its first record in its split of the audio.
      num_records: of its audio.
    """

    entry: code_shards.TrackEntry
    first: int
    num_records: int


@dataclasses.dataclass(frozen=True)
class Piece:
    """The records `first` to `stop` of a track's codes, which lie in one file."""

    source: Source
    first: int
    stop: int


def find_sources(encoder: Encoder, data: str) -> Iterator[Source]:
    """All tracks of an audio dataset, split by split, in the order of their records."""
    rows = {row.track_id: row for row in manifest.read(data)}
    for split in shards.split_names(data):
        for place in audio_dataset.find_tracks(data, split):
            row, num_samples = rows[place.track_id], encoder.layout.padded(place.num_samples)
            about = {"labels": place.labels, "split": split, "num_samples": num_samples}
            entry = code_shards.TrackEntry(
                place.track_id, **about, score=row.score, lyrics=row.lyrics, caption=row.caption
            )
            yield Source(entry, place.first, place.num_records)


def write_plan(place: output_folder.Place, sources: Iterable[Source]) -> None:
    """Tells other processes, or a later run, which tracks there are."""
    entries = ((one, score_facts.index_row(one.entry)) for one in sources)
    rows = ({"entry": entry, "first": one.first, "num_records": one.num_records} for one, entry in entries)
    with files.replaced(place.spool / PLAN_NAME) as file:
        file.writelines(json.dumps(row).encode() + b"\n" for row in rows)


def read_plan(place: output_folder.Place) -> list[Source]:
    """What `write_plan` wrote."""
    path = place.spool / PLAN_NAME
    return [records.parse(Source, row, str(path)) for row in files.read_json_lines(path)]


def is_planned(place: output_folder.Place) -> bool:
    """Whether `write_plan` was here."""
    return (place.spool / PLAN_NAME).is_file()


class CodeJob:
    """The codes of one data set: which files there are, and how each is made.

    Attributes:
      sources: all tracks, split by split.
      shards: all files.
    """

    def __init__(self, encoder: Encoder, data: str, sources: Iterable[Source], features: tfds.features.FeaturesDict):
        """Args:
        encoder: of the tokenizer.
        data: folder of prepare_data.
        sources: its tracks.
        features: of a record of codes.
        """
        self.sources = list(sources)
        self._encoder, self._data = encoder, data
        self._size = code_shards.segment_samples(encoder.layout)
        self._features, self._serialize = features, shard_files.serializer(features)
        groups = itertools.groupby(self.sources, lambda source: source.entry.split)
        self._of_split = {split: list(group) for split, group in groups}
        # Where the records of each track end among those of its split.
        self._ends = {split: np.cumsum(list(map(self._count, group))) for split, group in self._of_split.items()}
        self.shards = shard_files.plan({split: int(ends[-1]) for split, ends in self._ends.items()})

    def write(
        self, place: output_folder.Place, share: Sequence[shard_files.Shard], batch_size: int, progress: Progress
    ) -> None:
        """Writes some of the files, but for those that are whole already.

        Args:
          place: where the codes are being made.
          share: which files.
          batch_size: windows encoded at a time.
          progress: counts seconds of audio.
        """
        missing = [shard for shard in share if not shard_files.is_written(place, code_shards.DATASET_NAME, shard)]
        progress.skip(sum(map(self.seconds, share)) - sum(map(self.seconds, missing)))
        wanted = [(shard, piece) for shard in missing for piece in self._pieces(shard)]
        codes = batched.encode(self._encoder, (self._windows(piece) for _, piece in wanted), batch_size)
        made = zip(wanted, codes, strict=True)
        for shard, group in itertools.groupby(made, lambda one: one[0][0]):
            found = self._records(((piece, codes) for (_, piece), codes in group), progress)
            shard_files.write(place, code_shards.DATASET_NAME, shard, found)

    def is_written(self, place: output_folder.Place) -> bool:
        """Whether all files are."""
        return all(shard_files.is_written(place, code_shards.DATASET_NAME, shard) for shard in self.shards)

    def describe(self, place: output_folder.Place, metadata: dict[str, Any]) -> None:
        """Makes a data set of the files, all of which are written."""
        code_shards.write_index(place.partial, [source.entry for source in self.sources])
        shard_files.describe(place, code_shards.DATASET_NAME, self._features, metadata, self.shards)

    def seconds(self, shard: shard_files.Shard) -> float:
        """Of the audio that a file's codes are of."""
        return sum(map(self._seconds, self._pieces(shard)))

    def _count(self, source: Source) -> int:
        """Records of a track's codes."""
        return -(-source.entry.num_samples // self._size)

    def _pieces(self, shard: shard_files.Shard) -> Iterator[Piece]:
        ends, sources = self._ends[shard.split], self._of_split[shard.split]
        for track in range(int(np.searchsorted(ends, shard.first, side="right")), len(sources)):
            end = int(ends[track])
            begin = end - self._count(sources[track])
            if begin >= shard.stop:
                return
            yield Piece(sources[track], max(shard.first, begin) - begin, min(shard.stop, end) - begin)

    def _bounds(self, piece: Piece) -> tuple[int, int]:
        """Of a piece, in samples of its track."""
        return piece.first * self._size, min(piece.stop * self._size, piece.source.entry.num_samples)

    def _seconds(self, piece: Piece) -> float:
        start, stop = self._bounds(piece)
        return (stop - start) / self._encoder.layout.sample_rate

    def _windows(self, piece: Piece) -> Iterator[Window]:
        """The windows that a piece lies in, each with what the piece keeps of it."""
        (start, stop), entry = self._bounds(piece), piece.source.entry
        size, audio = self._encoder.window_of(entry.num_samples), self._audio[entry.split]
        for span in self._encoder.spans(entry.num_samples):
            kept = max(span.kept_from, start), min(span.kept_to, stop)
            if kept[0] < kept[1]:
                clip = audio_dataset.read_clip(audio, audio.holding(piece.source, span.start), span.start, size)
                yield Window(clip, Span(span.start, *kept))

    @functools.cached_property
    def _audio(self) -> "dict[str, _RecentRecords]":
        return {split: _RecentRecords(self._data, split) for split in self._of_split}

    def _records(self, made: Iterator[tuple[Piece, batched.Codes]], progress: Progress) -> Iterator[bytes]:
        for piece, codes in made:
            entry, (start, _) = piece.source.entry, self._bounds(piece)
            told = self._audio[entry.split].told(piece.source, self._data)
            texts = {"track_id": entry.track_id} | ({"labels": entry.labels} if "labels" in self._features else {})
            stretch = {"start": start, "length": entry.num_samples}
            for segment in code_shards.segments(self._encoder.layout, codes, **told, **stretch):
                yield self._serialize(segment | texts)
            progress.update(self._seconds(piece))


class _RecentRecords:
    """The records of a split of audio, the last few of which stay in memory."""

    def __init__(self, data: str, split: str) -> None:
        self._records = shards.open_split(data, split, shards.audio_features())
        self._length = round(shards.SEGMENT_SECONDS * shards.read_metadata(data)["sample_rate"])
        self._get = functools.lru_cache(CACHED_RECORDS)(self._records.__getitem__)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._get(index)

    def holding(self, source: Source, position: int) -> int:
        """Number of the record that has a sample of a track."""
        return source.first + min(position // self._length, source.num_records - 1)

    def told(self, source: Source, data: str) -> dict[str, Any]:
        """The notes and the lyrics of a track, where records have these."""
        facts = audio_dataset.facts_of(self, source.first, data)
        return {name: facts[name] for name in ("notes", "lyrics") if name in facts}
