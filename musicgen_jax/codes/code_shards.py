"""The codes of a data set on disk: what extract_codes writes, and all that read it.

A folder has records, each a segment of a track, so that a window reads no more than the segments it lies in;
tracks.jsonl, a row a track; codebooks.npz; and metadata.json with the layout of the codes. Older folders have a record
a track, codes of one codebook alone, and no layout but what `Layout.from_dict` makes of their metadata.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from musicgen_jax import config
from musicgen_jax.codes.layout import VERSION_1, Layout, Stream
from musicgen_jax.data import captions, lyric_facts, score_facts, shards
from musicgen_jax.data.lyrics import Lyrics, joined
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.scores import excerpts

DATASET_NAME = "musicgen_codes"
INDEX_NAME = "tracks.jsonl"
CODEBOOKS_NAME = "codebooks.npz"
AGAIN = "extract the codes again"
WRITER = "pass a folder that extract_codes wrote"


def features(
    layout: Layout,
    labels: Sequence[str] = (),
    whole_tracks: bool = False,
    scores: bool = False,
    lyrics: bool = False,
) -> tfds.features.FeaturesDict:
    """The fields of a record, as TFDS describes them.

    They are int16 codes [T, Q] of every stream, a text a label, lyrics, and the sample of the track that the record
    starts at.
    In data sets with scores a record has the `notes` that sound within it, in those with lyrics `lyric_times`, as
    `shards.audio_features` says. Those of older folders (`whole_tracks`) have codes [T] and no start.
    """
    codes = {
        stream.name: tfds.features.Tensor(
            shape=(None,) if whole_tracks else (None, stream.num_codebooks), dtype=np.int16, encoding="bytes"
        )
        for stream in layout.streams
    }
    text = {name: tfds.features.Text() for name in ("track_id", "lyrics")} | shards.label_features(labels)
    rest = ({} if whole_tracks else {"start": np.int64}) | ({"notes": shards.notes_feature()} if scores else {})
    rest |= {"lyric_times": shards.lyric_times_feature()} if lyrics else {}
    return tfds.features.FeaturesDict(codes | text | rest)


def segment_samples(layout: Layout) -> int:
    """Length of a record: whole frames of all streams, about as long as a segment of audio."""
    return max(round(shards.SEGMENT_SECONDS * layout.sample_rate / layout.hop_length), 1) * layout.hop_length


def segments(
    layout: Layout,
    codes: Mapping[str, np.ndarray],
    notes: np.ndarray | None = None,
    lyrics: Lyrics | None = None,
    start: int = 0,
    length: int | None = None,
) -> Iterator[dict[str, Any]]:
    """The records of a track, or of a stretch of one, but for its labels.

    Args:
      layout: of the codes.
      codes: stream -> int16 [T, Q], all of the same stretch of audio.
      notes: float32 [N, 5] of the track, in data sets with scores.
      lyrics: of the track, in data sets with lyrics.
      start: sample of the track at which the codes begin, a multiple of `segment_samples`.
      length: samples of the whole track's codes; None where these are all.
    """
    size = segment_samples(layout)
    coarsest = layout.streams[0]
    stop = start + len(codes[coarsest.name]) * coarsest.hop_length
    for begin in range(start, stop, size):
        bounds = begin - start, begin - start + size
        ends = {one.name: [bound // one.hop_length for bound in bounds] for one in layout.streams}
        record = {name: codes[name][first:last] for name, (first, last) in ends.items()} | {"start": begin}
        seconds = begin / layout.sample_rate, (begin + size) / layout.sample_rate
        if notes is not None:
            record["notes"] = excerpts.within(notes, *seconds)
        record["lyrics"] = ""
        if lyrics is not None:
            # What is sung when the codes have ended belongs to the last record.
            last = begin + size >= (stop if length is None else length)
            record |= shards.lyric_fields(lyrics.within(seconds[0], np.inf if last else seconds[1]))
        yield record


@dataclasses.dataclass(frozen=True)
class TrackEntry:
    """One row of tracks.jsonl, in the order of the records: enough to place windows without reading codes."""

    track_id: str
    split: str
    labels: dict[str, str]  # label -> value
    num_samples: int  # that the codes reach over; whole frames of every stream
    score: score_facts.ScoreFacts = score_facts.NONE
    lyrics: lyric_facts.LyricFacts = lyric_facts.NONE
    caption: captions.Caption = captions.NONE

    @property
    def texts(self) -> tuple[str, ...]:
        """What a model may be told of the track in words; see `captions.told`."""
        return captions.told(self.caption, self.labels)


def write_index(directory: pathlib.Path, entries: list[TrackEntry]) -> None:
    """Writes tracks.jsonl, a row a track, in the order in which its records were written."""
    files.write_text(directory / INDEX_NAME, files.json_lines(list(map(score_facts.index_row, entries))))


def read_index(directory: str, layout: Layout | None = None) -> list[TrackEntry]:
    """Reads tracks.jsonl; `layout` saves looking it up.

    Raises:
      NotFoundError: `directory` was not written by extract_codes.
      UserError: the file is damaged.
    """
    path = pathlib.Path(directory) / INDEX_NAME
    hop = (layout or read_facts(directory).layout).hop_length
    entries = []
    for number, row in enumerate(files.read_json_lines(path, WRITER), 1):
        where = f"{path}: row {number}"
        if isinstance(row, dict) and "top_codes" in row:  # older: frames of the coarsest stream
            frames = records.check(int, row["top_codes"], f"{where}.top_codes")
            row = {name: value for name, value in row.items() if name != "top_codes"} | {"num_samples": frames * hop}
        if isinstance(row, dict) and "genre" in row:  # older: two labels, each a field
            labels = {name: row[name] for name in ("genre", "artist") if name in row}
            row = {name: value for name, value in row.items() if name not in labels} | {"labels": labels}
        entry = records.parse(TrackEntry, row, where)
        sound = 0 < entry.num_samples < 2**40 and entry.num_samples % hop == 0
        rule = f"must be a multiple of {hop} in (0, 2**40)"
        config.require(sound, f"{where}.num_samples is {entry.num_samples} and {rule}")
        sound = all(0 <= most <= entry.score.num_notes for most in entry.score.crowds)
        config.require(sound, f"{where}.score: no stretch of a track has more notes than the track: {AGAIN}")
        sound = all(0 <= most <= entry.lyrics.num_characters for most in entry.lyrics.crowds)
        config.require(sound, f"{where}.lyrics: no stretch of a track has more characters than the track: {AGAIN}")
        entries.append(entry)
    return entries


def write_codebooks(directory: pathlib.Path, codebooks: Mapping[str, np.ndarray]) -> None:
    """Writes codebooks.npz: stream -> the tokenizer's entries, float32 [Q, K, W]."""
    np.savez(directory / CODEBOOKS_NAME, **codebooks)


def read_codebooks(directory: str) -> dict[str, np.ndarray]:
    """The tokenizer's entries by stream. Raises NotFoundError where `directory` was not written by extract_codes."""
    path = pathlib.Path(directory) / CODEBOOKS_NAME
    codebooks = files.read_arrays(path, WRITER)
    for stream in read_facts(directory).layout.streams:
        entries = codebooks.get(stream.name, np.empty(0))
        entries = entries[None] if entries.ndim == 2 else entries  # older: of the one codebook
        fits = entries.ndim == 3 and entries.shape[:2] == (stream.num_codebooks, stream.num_codes)
        sound = fits and entries.dtype == np.float32 and bool(np.isfinite(entries).all())
        config.require(sound, f"{path} is damaged: {stream.name} must be finite float32 [Q, K, W]")
        codebooks[stream.name] = entries
    return codebooks


@dataclasses.dataclass(frozen=True)
class Facts:
    """What metadata.json says of the codes.

    Attributes:
      layout: of the tokenizer.
      segment_samples: of audio that a record is of; 0 where each is of a whole track.
      scores: whether records have notes.
      lyrics: whether records have characters with times.
      audio: digest of the dataset, see `provenance.of_audio`; "" in folders that are older than it.
      manifest: what these have instead: a digest of the bytes of its manifest, or "".
    """

    layout: Layout
    segment_samples: int = 0
    scores: bool = False
    lyrics: bool = False
    audio: str = ""
    manifest: str = ""


def metadata(layout: Layout, audio: str, data: str, told: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """What metadata.json is to say of new codes: of audio with this digest, from this folder; of what its own metadata,
    `told`, say of scores, lyrics and licences the same."""
    facts = {"layout": layout.to_dict(), "sample_rate": layout.sample_rate}
    facts |= {name: told[name] for name in ("scores", "lyrics", "licence") if told.get(name)}
    return facts | {"segment_samples": segment_samples(layout), "audio": audio, "data": data}


def read_facts(directory: str) -> Facts:
    """The facts about the codes in `directory`.

    Raises:
      NotFoundError: `directory` was not written by extract_codes.
      UserError: metadata.json is damaged.
    """
    values = shards.read_metadata(directory)
    where = f"{pathlib.Path(directory) / 'metadata.json'}: metadata"
    if not (pathlib.Path(directory) / INDEX_NAME).is_file():
        raise NotFoundError(f"no {INDEX_NAME} in {directory}: {WRITER}")
    if "layout" in values:
        layout = Layout.from_dict(values["layout"], f"{where}.layout")
        size = records.check(int, values.get("segment_samples"), f"{where}.segment_samples")
        sound = size > 0 and size % layout.hop_length == 0
        config.require(sound, f"{where}.segment_samples is {size} and must be a multiple of {layout.hop_length}")
    else:
        older = {name: values[name] for name in VERSION_1 if name in values}
        layout, size = Layout.from_dict(older | {"hop_lengths": values.get("hop_lengths")}, where), 0
    texts = {name: values[name] for name in ("audio", "manifest") if name in values}
    return Facts(
        layout,
        size,
        "scores" in values,
        "lyrics" in values,
        **{name: records.check(str, one, f"{where}.{name}") for name, one in texts.items()},
    )


def stream_names(directory: str) -> tuple[str, ...]:
    """Names of the streams of the codes in a folder, coarse to fine; none where it has no codes any more."""
    try:
        return read_facts(directory).layout.names
    except UserError:
        return ()


class Tracks:
    """The codes of one split; picklable random access for Grain workers.

    Attributes:
      layout: of the codes.
      entries: of the tracks.
      has_scores: whether `read` gives notes.
      has_lyrics: whether there is something for `lyrics`.
    """

    def __init__(self, directory: str, split: str):
        """Opens the shards of a split; records are read when they are asked for.

        Raises:
          NotFoundError: `directory` holds no codes.
          UserError: none of that split, or another number of records than the index promises.
        """
        facts = read_facts(directory)
        self._where = f"{directory}: split {split}"
        self.layout, self._size = facts.layout, facts.segment_samples
        self.has_scores, self.has_lyrics = facts.scores, facts.lyrics
        self.entries = [entry for entry in read_index(directory, facts.layout) if entry.split == split]
        of_records = features(facts.layout, (), not self._size, facts.scores, facts.lyrics)
        self._records = shards.open_split(directory, split, of_records)
        sizes = [-(-entry.num_samples // self._size) if self._size else 1 for entry in self.entries]
        self._firsts = np.cumsum([0, *sizes])
        config.require(
            self._firsts[-1] == len(self._records),
            f"{directory}: {INDEX_NAME} names {len(self.entries)} tracks of {split}, which are {self._firsts[-1]} "
            f"records, and the shards hold {len(self._records)}: {AGAIN}",
        )

    def read(
        self, track: int, names: Sequence[str], start: int, stop: int, notes_until: int | None = None
    ) -> dict[str, np.ndarray]:
        """The codes of a stretch of a track, as far as it goes; reads the records that it lies in.

        Args:
          track: index of the entry.
          names: of streams.
          start, stop: samples of the audio, whole frames of these streams.
          notes_until: with it, in data sets with scores, the notes are read from `start` up to this sample.

        Returns:
          {stream: int16 [T, Q]}, and "notes" float32 [N, 5] of the notes that sound there, in seconds of the track.

        Raises:
          UserError: a record is of another stretch or track than the index says, or is damaged.
        """
        entry, streams = self.entries[track], [self.layout.stream(name) for name in names]
        size = self._size or entry.num_samples
        stop = min(stop, entry.num_samples)
        parts = {one.name: [np.zeros((0, one.num_codebooks), np.int16)] for one in streams}
        with_notes = self.has_scores and notes_until is not None
        reach = min(max(stop, notes_until), entry.num_samples) if with_notes else stop
        notes = []
        for index in range(start // size, -(-reach // size)):
            record, first = self._record(track, index), index * size
            if with_notes:
                notes.append(record["notes"])
            for one in streams if first < stop else ():
                codes = self._codes(record, one, entry, first)
                begin = max(start - first, 0) // one.hop_length
                parts[one.name].append(codes[begin : (stop - first) // one.hop_length])
        found = {name: np.concatenate(of_stream) for name, of_stream in parts.items()}
        if with_notes:
            bounds = (sample / self.layout.sample_rate for sample in (start, notes_until))
            found["notes"] = excerpts.within(excerpts.joined(notes), *bounds)
        return found

    def lyrics(self, track: int, start: float, stop: float) -> Lyrics:
        """What is sung from second `start` up to `stop` of a track, given by its index among `entries`.

        Raises as `read`.
        """
        seconds = (self._size or self.entries[track].num_samples) / self.layout.sample_rate
        last = -(-self.entries[track].num_samples // self._size) - 1 if self._size else 0
        first, until = (int(np.clip(second / seconds, 0, last)) for second in (start, stop))
        parts = [shards.lyrics_of(self._record(track, index), self._where) for index in range(first, until + 1)]
        return joined(parts).within(start, stop)

    def _codes(self, record: Mapping[str, Any], stream: Stream, entry: TrackEntry, first: int) -> np.ndarray:
        """Codes [T, Q] of the record of a track that begins at its sample `first`, as many as the index says."""
        codes = np.asarray(record[stream.name]).reshape(-1, stream.num_codebooks)
        wanted = min(self._size or entry.num_samples, entry.num_samples - first) // stream.hop_length
        config.require(
            len(codes) == wanted,
            f"{INDEX_NAME} promises {wanted} codes of {entry.track_id} from sample {first} on, and the shards hold "
            f"{len(codes)}: {AGAIN}",
        )
        return codes

    def _record(self, track: int, index: int) -> Mapping[str, Any]:
        """The record with number `index` of a track, which says itself whose it is: shards may have been mixed up."""
        number, entry = int(self._firsts[track]) + index, self.entries[track]
        record, first = self._records[number], index * self._size
        # Those of older folders are whole tracks, and have no start.
        found = record["track_id"].decode(errors="replace"), int(record.get("start", first))
        config.require(
            found == (entry.track_id, first),
            f"{self._where}: record {number} is of {found[0]} from sample {found[1]} on, and {INDEX_NAME} promises "
            f"{entry.track_id} from sample {first} on: the shards are not those that it was written with: {AGAIN}",
        )
        return record

    def all_codes(self, name: str) -> list[np.ndarray]:
        """The codes of one stream, int16 [T, Q] a track; all of them in memory at once."""
        ends = enumerate(entry.num_samples for entry in self.entries)
        return [self.read(track, [name], 0, num_samples)[name] for track, num_samples in ends]
