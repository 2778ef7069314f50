"""The manifest: one JSON line a source file, and the split of the tracks into train, validation and test."""

import collections
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable

from musicgen_jax import config
from musicgen_jax.data import captions, lyric_facts, score_facts, track
from musicgen_jax.runtime import files, records

SPLITS = ("train", "validation", "test")
HELD_OUT = ("validation", "test")
HELD_OUT_PARTS = 10  # validation and test get one in so many parts of the time each
MAX_GROUP_PARTS = 5  # and at most one in so many groups
MIN_GROUPS = 3  # with fewer, nothing can be held out
FILE_NAME = "manifest.jsonl"


@dataclasses.dataclass(frozen=True)
class Row:
    """What became of one source file; `split`, `num_samples` and `num_segments` are those of an "ok" row."""

    path: str
    track_id: str
    hash: str
    duration: float
    sample_rate: int
    channels: int
    status: str
    split: str = ""
    reason: str = ""
    warning: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    num_samples: int = 0
    num_segments: int = 0
    licence: str = ""
    score: score_facts.ScoreFacts = score_facts.NONE
    lyrics: lyric_facts.LyricFacts = lyric_facts.NONE
    caption: captions.Caption = captions.NONE


def accepted(item: track.Track, split: str, num_samples: int, num_segments: int) -> Row:
    """The row of a track that was written: `num_samples` at the dataset's rate, in `num_segments` records."""
    about = (item.path, item.track_id, item.hash, item.duration, item.sample_rate, item.channels)
    return Row(
        *about,
        status="ok",
        split=split,
        warning=item.warning,
        labels=item.labels,
        num_samples=num_samples,
        num_segments=num_segments,
        licence=item.licence,
        score=score_facts.of(item.score, item.score_kind),
        lyrics=lyric_facts.of(item.lyrics, item.lyrics_kind),
        caption=item.caption,
    )


def rejected(item: track.Rejection) -> Row:
    """The row of a source file that does not enter the dataset, with the reason."""
    about = (item.path, "", item.hash, item.duration, item.sample_rate, item.channels)
    return Row(*about, status="rejected", reason=item.reason)


def write(directory: pathlib.Path, rows: Iterable[Row]) -> None:
    """Writes the rows, sorted by path and track, to DIRECTORY/manifest.jsonl."""
    write_lines(directory, map(to_line, sorted(rows, key=lambda row: (row.path, row.track_id))))


def write_lines(directory: pathlib.Path, lines: Iterable[bytes]) -> None:
    """The same of rows that are lines and sorted already, and need not all be in memory."""
    with files.replaced(directory / FILE_NAME) as file:
        file.writelines(lines)


def to_line(row: Row) -> bytes:
    """A row as its line of JSON, without a licence that nobody knows."""
    values = {name: value for name, value in score_facts.index_row(row).items() if (name, value) != ("licence", "")}
    return json.dumps(values).encode() + b"\n"


def of_line(line: bytes, where: str) -> Row:
    """Inverse of `to_line`. Raises UserError, which begins with `where`, where it is no row."""
    return records.parse(Row, files.parse_json(line, where), where)


def read(directory: str | pathlib.Path) -> list[Row]:
    """Reads the manifest of a prepared dataset.

    Raises:
      NotFoundError: the directory has none.
      UserError: it is damaged.
    """
    path = pathlib.Path(directory) / FILE_NAME
    rows = files.read_json_lines(path, "pass a folder that prepare_data wrote")
    return [records.parse(Row, row, f"{path}: row {number}") for number, row in enumerate(rows, 1)]


def split_tracks(tracks: list[track.Track], seed: int) -> dict[str, str]:
    """Assigns each track to one split: track_id -> "train", "validation" or "test".

    A track that names its split is in it. The others of its group go with it (where the source itself divides a group,
    to the first of its splits, train before test); those of other groups are split by `split_groups`.
    """
    named: dict[str, set[str]] = collections.defaultdict(set)
    for item in tracks:
        if item.split:
            named[item.group].add(item.split)
    groups = split_groups([item for item in tracks if item.group not in named], seed)
    groups |= {group: min(splits, key=SPLITS.index) for group, splits in named.items()}
    return {item.track_id: item.split or groups[item.group] for item in tracks}


def divided_groups(tracks: Iterable[track.Track]) -> int:
    """How many groups the source's own split divides."""
    named: dict[str, set[str]] = collections.defaultdict(set)
    for item in tracks:
        named[item.group] |= {item.split} - {""}
    return sum(len(splits) > 1 for splits in named.values())


def split_groups(tracks: list[track.Track], seed: int) -> dict[str, str]:
    """Assigns each group of tracks to one split: group -> "train", "validation" or "test".

    Depends on the groups, their genres and durations and the seed alone, not on the order of the tracks. Every genre
    with at least three groups gives a tenth of its time, as near as its groups allow, to validation and as much to
    test; the rarest genre chooses first. A split takes groups in the order of a hash, passing over one that would bring
    it farther from its tenth, and never more than a fifth of them, so that one long recording is not all that is left
    to train on. Where each is too long it takes the shortest; so train keeps the longest. The groups of rarer genres
    are split together by the same rule. With fewer than three groups in all, everything is train.
    """
    # In whole milliseconds: their sums do not depend on the order.
    times: dict[str, dict[str, int]] = collections.defaultdict(lambda: collections.defaultdict(int))
    for item in tracks:
        times[item.group][item.labels.get("genre", config.UNKNOWN_LABEL)] += round(1000 * item.duration)
    order = sorted(times, key=lambda group: (hashlib.sha256(f"{seed}:{group}".encode()).digest(), group))
    genres: dict[str, dict[str, int]] = collections.defaultdict(dict)
    for group in order:
        for genre, time in times[group].items():
            genres[genre][group] = time
    common = [genre for genre in genres if len(genres[genre]) >= MIN_GROUPS]
    strata = [genres[genre] for genre in sorted(common, key=lambda genre: (len(genres[genre]), genre))]
    strata.append({group: sum(times[group].values()) for group in order if not {*times[group]}.intersection(common)})
    splits: dict[str, str] = {}
    for stratum in strata:
        if len(stratum) >= MIN_GROUPS:
            for split in HELD_OUT:
                _hold_out(stratum, split, splits)
    return {group: splits.get(group, "train") for group in order}


def _hold_out(stratum: dict[str, int], split: str, splits: dict[str, str]) -> None:
    """Adds groups of a stratum, {group: time}, to `split` until that has its share; changes `splits`."""
    free = {group: time for group, time in stratum.items() if group not in splits}
    taken = [time for group, time in stratum.items() if splits.get(group) == split]
    for group, time in stratum.items():
        missing = sum(stratum.values()) - HELD_OUT_PARTS * sum(taken)  # of the target, in parts of the stratum
        nearer = HELD_OUT_PARTS * time <= 2 * missing
        if group in free and nearer and len(free) > 1 and len(taken) < max(1, len(stratum) // MAX_GROUP_PARTS):
            splits[group] = split
            taken.append(free.pop(group))
    if not taken and len(free) > 1:
        splits[min(free, key=lambda group: free[group])] = split
