"""Source `fma`: its table with three rows of headers, subsets, licences, and audio that is none."""

import csv
import pathlib

import numpy as np
import pytest
import soundfile

from musicgen_jax.data import manifest, preparation
from musicgen_jax.data.sources import fma
from musicgen_jax.runtime.errors import UserError

RATE = 16000
SHARED = pathlib.Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
HEADERS = [
    ["", "album", "artist", "set", "set", "track", "track", "track"],
    ["", "title", "name", "split", "subset", "genre_top", "license", "title"],
    ["track_id", "", "", "", "", "", "", ""],
]
BY, NC = "Attribution 3.0 International", "Attribution-NonCommercial-ShareAlike 3.0 United States"
# number, artist, split, subset, genre, licence
ROWS = [
    (2, "Ann", "training", "small", "Rock", BY),
    (5, "Ben", "validation", "small", "", "CC0 1.0 Universal"),
    (134, "Cid", "test", "medium", "Jazz", NC),
    (1140, "Cid", "training", "large", "Jazz", NC),
    (2000, "Dee", "", "small", "Rock", BY),
]


def write_table(folder: pathlib.Path, rows: list[list[str]]) -> None:
    (folder / "fma_metadata").mkdir(parents=True, exist_ok=True)
    with open(folder / "fma_metadata" / "tracks.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(HEADERS + rows)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    write_table(tmp_path, [
        [str(number), 'Two\nlines, "quoted"', artist, split, subset, genre, licence, "x" * 200_000]
        for number, artist, split, subset, genre, licence in ROWS
    ])  # fmt: skip
    for number in (2, 5, 134, 99134):
        path = tmp_path / "fma_medium" / f"{number // 1000:03d}" / f"{number:06d}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = 0.1 * np.random.default_rng(number).standard_normal(2 * RATE)
        soundfile.write(path, noise * (number != 5), RATE, format="MP3")
    return tmp_path


def found(folder: pathlib.Path, **options: str) -> tuple[dict, dict[str, str]]:
    tracks, rejected = fma.tracks(str(folder), 8000, 0, 0, **options)
    return {item.track_id.split("/")[-1]: item for item in tracks}, {item.path: item.reason for item in rejected}


def test_a_subset_with_its_splits_labels_and_licences(folder):
    tracks, rejected = found(folder)
    assert {name: (item.split, item.licence, item.labels) for name, item in tracks.items()} == {
        "000002.mp3": ("train", "CC-BY-3.0", {"artist": "Ann", "genre": "Rock"}),
        "000005.mp3": ("validation", "CC0-1.0", {"artist": "Ben"}),
        "000134.mp3": ("test", "CC-BY-NC-SA-3.0", {"artist": "Cid", "genre": "Jazz"}),
    }
    assert rejected == {
        "fma_medium/002/002000.mp3": "no split: tracks.csv says ''",
        "fma_medium/099/099134.mp3": "not in tracks.csv",
    }
    assert list(found(folder, subset="small")[0]) == ["000002.mp3", "000005.mp3"]  # the clips of fma_medium
    with pytest.raises(UserError, match=r"subset=full: .* has only fma_medium; unpack fma_full\.zip there"):
        found(folder, subset="full")
    with pytest.raises(UserError, match="subset=tiny: must be one of small, medium, large, full"):
        found(folder, subset="tiny")


def test_licences_that_were_asked_for(folder):
    tracks, rejected = found(folder, licenses="cc-by, CC0-1.0")
    assert list(tracks) == ["000002.mp3", "000005.mp3"]
    assert rejected["fma_medium/000/000134.mp3"] == "licence not asked for: CC-BY-NC-SA-3.0"
    with pytest.raises(
        UserError, match=r"no track is under CC-BY-4.0; there are CC-BY-3.0 \(2\), .*CC-BY-NC-SA-3.0 \(1\)"
    ):
        found(folder, licenses="CC-BY-4.0")


def test_the_whole_preparation_reports_what_cannot_be_heard(folder):
    (folder / "fma_medium" / "000" / "000134.mp3").write_bytes(b"no audio in it" * 9)
    settings = preparation.Settings("fma", str(folder), 8000, 0, options={"subset": "medium"})
    report = preparation.prepare(settings, fma, str(folder / "out"), 0)
    assert report["files"] == {"ok": 1, "rejected": 4}
    rows = {row.path: row for row in manifest.read(folder / "out")}
    assert rows["fma_medium/000/000002.mp3"].licence == "CC-BY-3.0"
    assert rows["fma_medium/000/000005.mp3"].reason.startswith("silent")
    assert rows["fma_medium/000/000134.mp3"].reason.startswith("undecodable: no audio found")
    assert report["licence"]["tracks"] == {"CC-BY-3.0": 1}


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Attribution", "CC-BY"),
        ("Attribution-Noncommercial-No Derivative Works", "CC-BY-NC-ND"),
        ("Attribution-Noncommercial-Share Alike 3.0 United States", "CC-BY-NC-SA-3.0"),
        ("Creative Commons Attribution-ShareAlike 2.5 Sweden", "CC-BY-SA-2.5"),
        ("Public Domain Mark 1.0", "CC-PDM-1.0"),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("Creative Commons (CC) Attribution No Derivs", "CC-BY-ND"),
        ("No Attribution Required", "No Attribution Required"),
        ("FMA-Limited: Download Only ", "FMA-Limited: Download Only"),
        ("", ""),
    ],
)
def test_short_names_of_licences(text, short):
    assert fma.short_name(text) == short


def test_bad_tables(folder):
    path = folder / "fma_metadata" / "tracks.csv"
    write_table(folder, [["2", "", "Ann", "training", "small", "Rock", BY, ""], ["x"], [], ["2", *[""] * 7]])
    rows, rejected = fma.read_rows(path)
    assert [row.number for row in rows] == [2]
    assert [item.reason for item in rejected] == [
        f"damaged row: line {line}, {columns} columns; it must have 8 columns and a number of its own"
        for line, columns in ((5, 1), (6, 0), (7, 8))
    ]
    path.write_bytes(path.read_bytes().replace(b"genre_top", b"genre"))
    with pytest.raises(UserError, match=r"has no column track\.genre_top: is it FMA's tracks\.csv"):
        fma.read_rows(path)
    for content, message in ((b"a,b\n1,2\n", "has no three rows of headers"), (b"\xff" * 100, "is damaged")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            fma.read_rows(path)
    path.unlink()
    with pytest.raises(UserError, match="no such table of tracks; source must hold fma_metadata"):
        found(folder)
    with pytest.raises(UserError, match="has no folder fma_small, fma_medium"):
        found(folder / "fma_metadata")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with the miniature is absent")
def test_the_published_layout():
    tracks, rejected = found(SHARED / "fma")
    assert rejected == {} and len(tracks) == 5
    assert {item.split for item in tracks.values()} == {"train", "validation", "test"}
    assert tracks["000002.mp3"].labels == {"artist": "Kevin MacLeod", "genre": "Classical"}
    assert tracks["099134.mp3"].licence == "CC-BY-NC-ND"
