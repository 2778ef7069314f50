"""From a track to the records of it, in one pass over its audio; the work of `prepare_data` that takes the time."""

import collections
import contextlib
import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import tensorflow_datasets as tfds

from musicgen_jax import config
from musicgen_jax.data import audio_check, audio_io, lyrics, manifest, shard_files, shards
from musicgen_jax.data.track import Rejection, Track
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import excerpts, transcription
from musicgen_jax.scores.score import COLUMNS

MIN_SECONDS = 1.0  # of a recording
TRANSCRIBED = "transcribed"  # the kind of a score that a network has heard
MEMORY_BYTES = 1 << 24  # of a track's audio; what is longer goes through a file
FAILED = "failed on second reading"  # of what was fit when its source looked at it
NO_FACTS = audio_check.AudioFacts(hash="")
Checked = Callable[[Track, audio_check.AudioFacts], Track]


@dataclasses.dataclass(frozen=True)
class Form:
    """What the records of a data set are like, and how they are made.

    Attributes:
      sample_rate: Hz.
      labels: that each record has.
      audible: whether there is audio; else a record is a track's score.
      scores: whether records have notes.
      lyrics: whether they have characters with times.
      network: file of the network that transcribes tracks without a score, or "".
      fingerprints: whether recordings get one.
      checked: what a source makes of a track of a file and what its audio has told: a function of a module, or None.
    """

    sample_rate: int
    labels: tuple[str, ...]
    audible: bool
    scores: bool
    lyrics: bool = False
    network: str = ""
    fingerprints: bool = False
    checked: Checked | None = None

    @functools.cached_property
    def features(self) -> tfds.features.FeaturesDict:
        """Of a record."""
        if not self.audible:
            return shards.score_features(self.labels)
        return shards.audio_features(self.labels, self.scores, self.lyrics)

    @functools.cached_property
    def serialize(self) -> Callable[[dict[str, Any]], bytes]:
        """What turns a record into bytes."""
        return shard_files.serializer(self.features)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is made of them does not travel."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@dataclasses.dataclass(frozen=True)
class Made:
    """A track when its audio has been read.

    Attributes:
      row: of the manifest, but for the split, which is the source's own or "".
      group: the track's.
      facts: of the recording; none where the track is of no file, or rejected.
      sizes: bytes of its records.
    """

    row: manifest.Row
    group: str = ""
    facts: audio_check.AudioFacts = NO_FACTS
    sizes: tuple[int, ...] = ()


def make(form: Form, item: Track, write: Callable[[bytes], Any], scratch: str | None = None) -> Made:
    """Reads a track and writes its records; none where it is rejected.

    Args:
      form: of the records.
      item: the track.
      write: takes the serialized records, in order.
      scratch: folder for what does not fit into memory.

    Raises:
      OSError: there is no room for the records. What is wrong with the track is the reason of a rejection instead.
    """
    if not form.audible:
        return _make_score(form, item, write)
    sizes: list[int] = []
    with tempfile.SpooledTemporaryFile(MEMORY_BYTES, dir=scratch) as raw:
        num_samples, reason, facts = _decode(form, item, raw)
        found = reason or _completed(form, item, facts, num_samples, raw)
        if isinstance(found, str):
            return Made(manifest.rejected(_rejection(item, found, facts)))
        for record in _records(form, found, num_samples, raw):
            write(record)
            sizes.append(len(record))
    row = manifest.accepted(found, found.split, num_samples, len(sizes))
    return Made(row, found.group, facts, tuple(sizes))


def told(item: Track, facts: audio_check.AudioFacts, checked: Checked | None) -> Track:
    """A track of a file with what its audio has told, and what its source makes of that.

    Raises:
      UserError, OSError: as `checked` does, of a file beside it.
    """
    known = {name: getattr(facts, name) for name in ("hash", "duration", "sample_rate", "channels")}
    item = dataclasses.replace(item, **known, group=item.group or facts.audio_hash).warned(facts.warning)
    return checked(item, facts) if checked else item


def lost(item: Track, reason: str) -> Made:
    """A track whose process died, or took too long."""
    reason = f"lost: {reason}" if item.file else f"{FAILED}: {reason}"
    return Made(manifest.rejected(_rejection(item, reason, NO_FACTS)))


def _rejection(item: Track, reason: str, facts: audio_check.AudioFacts) -> Rejection:
    known = facts if item.file else item
    return Rejection(item.path, reason, known.hash, known.duration, known.sample_rate, known.channels)


def _decode(form: Form, item: Track, raw: BinaryIO) -> tuple[int, str, audio_check.AudioFacts]:
    """Writes a track's audio as raw int16; (samples, why it is unfit or "", what its file has told)."""
    inspection = audio_check.Inspection(item.file, MIN_SECONDS, form.fingerprints) if item.file else None
    blocks = inspection.blocks(form.sample_rate) if inspection else item.blocks()
    num_samples, reason = 0, ""
    while True:
        try:
            block = next(blocks, None)
            samples = None if block is None else audio_io.to_int16(block)
        except (UserError, OSError, MemoryError) as error:
            reason = f"{FAILED}: {str(error) or 'out of memory'}"
            break
        if samples is None:
            break
        raw.write(samples)
        num_samples += len(samples)
    if inspection:
        with contextlib.suppress(UserError, OSError, MemoryError):
            collections.deque(blocks, maxlen=0)  # of a file that has NaNs, how many
    facts = inspection.facts if inspection else NO_FACTS
    reason = facts.reason or reason
    return num_samples, reason or ("" if num_samples else "empty: it gave no samples"), facts


def _completed(form: Form, item: Track, facts: audio_check.AudioFacts, num_samples: int, raw: BinaryIO) -> Track | str:
    """The track with all that is known of it now, its score in memory; or why it is rejected after all."""
    try:
        item = (told(item, facts, form.checked) if item.file else item).loaded()
    except (UserError, OSError, MemoryError) as error:
        return f"{FAILED}: {str(error) or 'out of memory'}"
    if item.score is None and form.network:
        network = transcription.load(form.network)
        score = transcription.transcribe(network, _blocks(raw, form.sample_rate), form.sample_rate)
        if not score.empty:
            score = score.clipped(num_samples / form.sample_rate)
            item = dataclasses.replace(item, score=score, score_kind=TRANSCRIBED)
    return item


def _blocks(raw: BinaryIO, size: int) -> Iterator[np.ndarray]:
    """The track from its beginning, float32, `size` samples at a time."""
    raw.seek(0, os.SEEK_SET)
    while content := raw.read(2 * size):
        yield audio_io.from_int16(np.frombuffer(content, np.int16))


def _records(form: Form, item: Track, num_samples: int, raw: BinaryIO) -> Iterator[bytes]:
    notes = np.zeros((0, len(COLUMNS)), np.float32) if item.score is None else item.score.notes
    raw.seek(0, os.SEEK_SET)
    for segment, (start, stop) in enumerate(shards.segment_bounds(num_samples, form.sample_rate)):
        record = {
            "audio": np.frombuffer(raw.read(2 * (stop - start)), np.int16),
            "track_id": item.track_id,
            "segment": segment,
            "start": start,
            "track_samples": num_samples,
        } | _labels(form, item)
        if form.scores:
            record["notes"] = excerpts.within(notes, start / form.sample_rate, stop / form.sample_rate)
        if form.lyrics:
            seconds = start / form.sample_rate, stop / form.sample_rate if stop < num_samples else np.inf
            record |= shards.lyric_fields((item.lyrics or lyrics.NONE).within(*seconds))
        yield form.serialize(record)


def _make_score(form: Form, item: Track, write: Callable[[bytes], Any]) -> Made:
    """The one record of a track without audio."""
    try:
        item = item.loaded()
    except (UserError, OSError, MemoryError) as error:
        return Made(manifest.rejected(_rejection(item, f"{FAILED}: {str(error) or 'out of memory'}", NO_FACTS)))
    record = form.serialize({"track_id": item.track_id, "notes": item.score.notes} | _labels(form, item))
    write(record)
    row = manifest.accepted(item, item.split, round(item.duration * form.sample_rate), 1)
    return Made(row, item.group, sizes=(len(record),))


def _labels(form: Form, item: Track) -> dict[str, dict[str, str]]:
    """A record's labels; nothing where the data set has none."""
    names = form.labels
    return {"labels": {name: item.labels.get(name, config.UNKNOWN_LABEL) for name in names}} if names else {}
