"""The manifest: one JSON line a source file, and the split of the tracks into train, validation and test."""

import collections
import dataclasses
import hashlib
import pathlib

from musicgen_jax import files, records
from musicgen_jax.data import track

SPLITS = ("train", "validation", "test")
HELD_OUT = ("validation", "test")
HELD_OUT_SHARE = 0.1  # of the groups, for validation and for test each
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
    )


def rejected(item: track.Rejection) -> Row:
    """The row of a file that does not enter the dataset."""
    about = (item.path, "", item.hash, item.duration, item.sample_rate, item.channels)
    return Row(*about, status="rejected", reason=item.reason)


def write(directory: pathlib.Path, rows: list[Row]) -> None:
    """Writes the rows, sorted by path and track, to DIRECTORY/manifest.jsonl."""
    rows = sorted(rows, key=lambda row: (row.path, row.track_id))
    files.write_text(directory / FILE_NAME, files.json_lines([dataclasses.asdict(row) for row in rows]))


def read(directory: str | pathlib.Path) -> list[Row]:
    """Reads the manifest of a prepared dataset.

    Raises:
      NotFoundError: the directory has none.
      UserError: it is damaged.
    """
    path = pathlib.Path(directory) / FILE_NAME
    rows = files.read_json_lines(path, "pass the --out of prepare_data")
    return [records.parse(Row, row, f"{path}: row {number}") for number, row in enumerate(rows, 1)]


def split_groups(tracks: list[track.Track], seed: int) -> dict[str, str]:
    """Assigns each group of tracks to one split: group -> "train", "validation" or "test".

    Depends on the groups, their genres and the seed alone, not on the order of the tracks. Groups are taken in the
    order of a hash. Every genre with at least three groups gives a tenth of them, rounded but at least one, to
    validation and as many to test; the rarest genre chooses first, and one group of a genre stays in train wherever
    its groups suffice. The groups of rarer genres are split together by the same rule. With fewer than three groups
    in all, everything is train.
    """
    genres: dict[str, set[str]] = collections.defaultdict(set)
    for item in tracks:
        genres[item.group].add(item.labels["genre"])
    order = sorted(genres, key=lambda group: (hashlib.sha256(f"{seed}:{group}".encode()).digest(), group))
    members = collections.defaultdict(list)
    for group in order:
        for genre in genres[group]:
            members[genre].append(group)
    common = [genre for genre in members if len(members[genre]) >= MIN_GROUPS]
    strata = [members[genre] for genre in sorted(common, key=lambda genre: (len(members[genre]), genre))]
    strata.append([group for group in order if not genres[group].intersection(common)])
    splits: dict[str, str] = {}
    for stratum in strata:
        if len(stratum) >= MIN_GROUPS:
            _hold_out(stratum, splits)
    return {group: splits.get(group, "train") for group in order}


def _hold_out(stratum: list[str], splits: dict[str, str]) -> None:
    """Adds groups of a stratum to validation and test until each has its share; changes `splits`."""
    target = max(1, int(len(stratum) * HELD_OUT_SHARE + 0.5))
    for split in HELD_OUT:
        free = [group for group in stratum if group not in splits]
        missing = target - sum(splits.get(group) == split for group in stratum)
        for group in free[: max(0, min(missing, len(free) - 1))]:
            splits[group] = split
