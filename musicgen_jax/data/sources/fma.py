"""Source `fma`: the Free Music Archive data set, as unpacked: a folder with fma_metadata/ and any of its archives.

    fma_metadata/tracks.csv      three rows of headers: groups of columns, columns, the name of the index
    fma_small/000/000002.mp3     or fma_medium, fma_large (clips of 30 s), fma_full (whole tracks): three digits of the
                                 number, then all six

Splits are the official ones, artists do not cross them. Each track has the licence that its artist chose: the report
and the manifest say which.
"""

import collections
import contextlib
import csv
import os
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from musicgen_jax.data import licences, track
from musicgen_jax.data.sources import folder
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError

OPTIONS = ("subset", "licenses")
SUBSETS = ("small", "medium", "large", "full")  # each holds those before it; large and full are the same tracks
SPLITS = {"training": "train", "validation": "validation", "test": "test"}
COLUMNS = {
    "split": ("set", "split"),
    "subset": ("set", "subset"),
    "genre": ("track", "genre_top"),
    "licence": ("track", "license"),
    "artist": ("artist", "name"),
}
INDEX = "track_id"
MAX_FIELD_BYTES = 1 << 24  # biographies are long
NOTES = {
    "licence_url": "https://github.com/mdeff/fma",
    "attribution": "the artist of each track; Defferrard et al., FMA: A Dataset for Music Analysis, ISMIR 2017",
    "licence_note": "the metadata of FMA are CC-BY-4.0; its audio is under the licence that each artist chose",
}


class Row(NamedTuple):
    """A track of tracks.csv: its number and the columns that are used, as text."""

    number: int
    split: str
    subset: str
    genre: str
    licence: str
    artist: str


def tracks(
    source: str, sample_rate: int, seed: int, num_workers: int, subset: str = "", licenses: str = ""
) -> tuple[list[track.Track], list[track.Rejection]]:
    """The tracks of a subset, in order of their numbers; their audio is not read yet.

    Rejected then are files that are missing, have no audio in them (as three of fma_small), are cut, silent or damaged.

    Args:
      source: the folder.
      sample_rate, seed, num_workers: unused: recordings are what they are.
      subset: of `SUBSETS`; "" for that of the largest archive in the folder.
      licenses: short names with commas between them; tracks under others are left out. A name without a version
        ("CC-BY") is of any version; "" takes all.

    Returns:
      The tracks; and what is left out: rows that say no split or licence that is asked for, files without a row.

    Raises:
      UserError: no such folder, archive, subset or licence; or tracks.csv is none.
    """
    del sample_rate, seed, num_workers
    place = _place(source, subset)
    wanted = SUBSETS[: SUBSETS.index(subset or place.name.removeprefix("fma_")) + 1]
    rows, rejected = read_rows(_csv(source))
    inside = [row for row in rows if row.subset in wanted or "full" in wanted]
    if not inside:
        raise UserError(
            f"{_csv(source)} has no track of the subset {wanted[-1]}; it has {_counts(r.subset for r in rows)}"
        )
    asked = _asked(licenses, inside)
    kept = []
    for row in inside:
        name = f"{place.name}/{row.number // 1000:03d}/{row.number:06d}.mp3"
        licence = short_name(row.licence)
        if not asked(licence):
            rejected.append(track.Rejection(name, f"licence not asked for: {licence or 'unknown'}"))
        elif row.split not in SPLITS:
            rejected.append(track.Rejection(name, f"no split: tracks.csv says {row.split!r}"))
        else:
            labels = {key: value for key, value in (("artist", row.artist), ("genre", row.genre)) if value}
            path = os.path.join(source, name)
            kept.append(track.of_file(path, name, labels, split=SPLITS[row.split], licence=licence))
    return kept, rejected + _without_row(source, place, {row.number for row in rows})


def notes(source: str) -> dict[str, object]:
    """Facts for the report: the licence, files ignored by extension, a hash of names and sizes. Raises as `tracks`."""
    paths, ignored, _ = folder.find_files(_folder(source), (".mp3", ".csv"))
    return NOTES | {"ignored_files": ignored, "listing_hash": folder.listing_hash(paths, source)}


def read_rows(path: files.Path) -> tuple[list[Row], list[track.Rejection]]:
    """The rows of a tracks.csv in order of their numbers, and those that are damaged.

    Raises:
      UserError: it is no such table.
    """
    rows, rejected = {}, []
    name = f"{pathlib.Path(path).parent.name}/{pathlib.Path(path).name}"
    with files.reading(path, "unpack fma_metadata.zip again"), _table(path) as table:
        groups, columns, index = (next(table, []) for _ in range(3))
        if not index or index[0] != INDEX:
            raise UserError(f"{path} has no three rows of headers, the third with {INDEX}: is it FMA's tracks.csv?")
        places = _places(path, groups, columns)
        for row in table:
            if len(row) != len(columns) or not re.fullmatch(r"\d{1,6}", row[0]) or int(row[0]) in rows:
                rule = f"{len(columns)} columns and a number of its own"
                reason = f"damaged row: line {table.line_num}, {len(row)} columns; it must have {rule}"
                rejected.append(track.Rejection(name, reason))
                continue
            found = {key: row[place].strip() for key, place in places.items()}
            rows[int(row[0])] = Row(int(row[0]), **found)
    return [rows[number] for number in sorted(rows)], rejected


@contextlib.contextmanager
def _table(path: files.Path) -> Iterator["csv.Reader"]:
    before = csv.field_size_limit(MAX_FIELD_BYTES)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            yield csv.reader(file)
    finally:
        csv.field_size_limit(before)


def _places(path: files.Path, groups: list[str], columns: list[str]) -> dict[str, int]:
    """Where each of COLUMNS is."""
    both = list(zip(groups, columns, strict=False))
    if absent := [".".join(pair) for pair in COLUMNS.values() if pair not in both]:
        raise UserError(f"{path} has no column {', '.join(absent)}: is it FMA's tracks.csv?")
    return {key: both.index(pair) for key, pair in COLUMNS.items()}


def short_name(licence: str) -> str:
    """A licence as SPDX abbreviates it: "Attribution-NonCommercial 3.0 US" -> "CC-BY-NC-3.0"; others as they are."""
    letters = re.sub(r"[^a-z0]", "", licence.lower())
    version = re.search(r"\b[1-4]\.\d\b", licence)
    if "cc0" in letters or "publicdomaindedication" in letters:
        return "CC0-1.0"
    if "publicdomain" in letters:
        return "CC-PDM-1.0"
    if not re.match("(creativecommons)?(cc)?attribution", letters):
        return licence.strip()
    clauses = (short for clause, (short, *_) in licences.CLAUSES.items() if licences.has_clause(licence, clause))
    parts = ["CC", "BY", *clauses]
    return "-".join(parts + ([version[0]] if version else []))


def _asked(licenses: str, rows: list[Row]):
    """Whether a licence is one of those in the text `licenses`; each of them must be one of the rows'."""
    if not licenses:
        return lambda licence: True
    names = [name.strip().upper() for name in licenses.split(",")]
    pattern = re.compile("|".join(rf"{re.escape(name)}(-\d\.\d)?" for name in names))
    there = collections.Counter(short_name(row.licence) for row in rows)
    for name in names:
        one = re.compile(rf"{re.escape(name)}(-\d\.\d)?")
        if not any(one.fullmatch(licence.upper()) for licence in there):
            raise UserError(
                f"`licenses`={licenses}: no track is under {name or 'an empty name'}; there are {_shown(there)}"
            )
    return lambda licence: pattern.fullmatch(licence.upper()) is not None


def _shown(counts: collections.Counter) -> str:
    return ", ".join(f"{name or 'unknown'} ({count})" for name, count in counts.most_common())


def _counts(values: Iterator[str]) -> str:
    return _shown(collections.Counter(values)) or "no track at all"


def _folder(source: str) -> str:
    if not source:
        raise UserError("`source` is empty; the dataset fma needs the folder that holds fma_metadata: `source`=DIR")
    return source


def _csv(source: str) -> pathlib.Path:
    path = pathlib.Path(_folder(source)) / "fma_metadata" / "tracks.csv"
    files.require_file(path, "table of tracks; `source` must hold fma_metadata, unpacked")
    return path


def _place(source: str, subset: str) -> pathlib.Path:
    """The folder of the audio of a subset: its own, or that of a larger one with the same clips."""
    if subset and subset not in SUBSETS:
        raise UserError(f"`subset`={subset}: must be one of {', '.join(SUBSETS)}")
    there = [name for name in SUBSETS if (pathlib.Path(_folder(source)) / f"fma_{name}").is_dir()]
    if not there:
        raise UserError(f"{source} has no folder fma_small, fma_medium, fma_large or fma_full: unpack an archive there")
    if not subset:
        return pathlib.Path(source) / f"fma_{there[-1]}"
    larger = SUBSETS[SUBSETS.index(subset) :]
    clips = [name for name in there if name in larger and (name == subset or name != "full")]
    if not clips:
        found = ", ".join(f"fma_{name}" for name in there)
        raise UserError(f"`subset`={subset}: {source} has only {found}; unpack fma_{subset}.zip there")
    return pathlib.Path(source) / f"fma_{clips[0]}"


def _without_row(source: str, place: pathlib.Path, numbers: set[int]) -> list[track.Rejection]:
    """What lies in a folder of audio and is in no row."""
    paths, _, unlisted = folder.find_files(str(place), (".mp3",))
    names = [(folder.name_of(path, source), pathlib.Path(path).stem) for path in paths]
    unknown = [name for name, stem in names if not (stem.isdecimal() and int(stem) in numbers)]
    return [track.Rejection(name, "not in tracks.csv") for name in unknown] + [
        track.Rejection(f"{place.name}/{path}", f"folder unreadable: {why}") for path, why in unlisted
    ]
