"""Artists, albums and versions of a recording do not cross splits."""

import json
import pathlib

import numpy as np
import pytest
import soundfile
import soxr
import tiny_music

from musicgen_jax.data import kinship, manifest, near_duplicates, preparation
from musicgen_jax.data.sources import recordings

RATE = tiny_music.RATE


def sketch(seed: int, share: float = 0.0) -> np.ndarray:
    """Of a recording, which has a share of its words in common with recording 0."""
    common = np.random.default_rng(0).integers(0, 2**28, 1000)
    own = np.random.default_rng(seed + 1).integers(0, 2**28, 1000)
    return near_duplicates.sketch(np.concatenate([common[: round(1000 * share)], own]).astype(np.uint64))


def partition(*members: kinship.Member) -> tuple[list[int], str]:
    return kinship.groups(members)


def member(artist="", album="", folder="", fingerprint=None) -> kinship.Member:
    return kinship.Member(artist, album, folder, fingerprint)


OTHERS = (member("x"), member("y"), member("z"))


def test_artists_and_albums_stay_together():
    found, divided = partition(
        member("The Üs "), member("the  üs; Ann"), member("ANN"), member("Various Artists"), member("various artists"),
        member(album="Mix", folder="a"), member("Cid", "mix", "a"), member("Dee", "mix", "b"), member("Cid"), *OTHERS,
    )  # fmt: skip
    assert found[:9] == [0, 0, 0, 3, 4, 5, 5, 7, 5] and divided == ""


def test_versions_stay_together():
    found, _ = partition(member("a", fingerprint=sketch(1, 0.5)), member("b", fingerprint=sketch(2, 0.5)),
                         member("c", fingerprint=sketch(3)), member("d"), *OTHERS)  # fmt: skip
    assert found[:4] == [0, 0, 2, 3]


@pytest.mark.parametrize(
    ("albums", "groups", "divided"),
    [(["1", "1", "2", "3"], [0, 0, 2, 3], "artists"), (["1", "1", "2", "2"], [0, 1, 2, 3], "artists and albums")],
)
def test_few_artists_leave_some_to_hold_out(albums, groups, divided):
    assert partition(*(member("Ann", album) for album in albums)) == (groups, divided)
    # As in the works of one artist, of which two are versions of one recording.
    sketches = [sketch(1, 0.5), sketch(2, 0.5), sketch(3), None]
    found = partition(*(member("Ann", "1", fingerprint=one) for one in sketches))
    assert found == ([0, 0, 2, 3], "artists and albums")


def test_too_few_recordings_are_one_group():
    assert partition(member("Ann"), member("Ann")) == ([0, 0], "")
    assert partition() == ([], "")


def put(folder: pathlib.Path, name: str, audio: np.ndarray, rate: int = RATE, **tags: str) -> None:
    with soundfile.SoundFile(folder / name, "w", rate, 1) as file:
        for key, value in tags.items():
            setattr(file, key, value)
        file.write(audio)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> tuple[dict, dict[str, str]]:
    """The report, and file -> split: eight recordings, most of them in two versions."""
    folder = tmp_path_factory.mktemp("in")
    for seed in range(8):
        audio = tiny_music.music(seed, 8.0)
        put(folder, f"{seed}.flac", audio, **({"artist": f"by {seed // 2}"} if seed < 4 else {}))
        if seed > 3:
            put(folder, f"{seed}.ogg", soxr.resample(audio[4321:] * np.float32(0.5), RATE, 22050), 22050)
    for album in ("flac", "mp3"):
        put(folder, f"album.{album}", tiny_music.music(90 + len(album), 8.0), album="One")
    out = folder / "out"
    report = preparation.prepare(preparation.Settings("recordings", str(folder), 8000, 0), recordings, str(out), 0)
    assert report == json.loads((out / "report.json").read_text())
    return report, {row.path: row.split for row in manifest.read(out)}


def test_a_preparation_keeps_kin_together(prepared):
    report, splits = prepared
    assert report["files"] == {"ok": 14} and set(splits.values()) == set(manifest.SPLITS)
    kin = [("0.flac", "1.flac"), ("2.flac", "3.flac"), ("album.flac", "album.mp3")]
    for one, other in (*kin, *((f"{seed}.flac", f"{seed}.ogg") for seed in range(4, 8))):
        assert splits[one] == splits[other], (one, other)
    assert report["messages"] == []


def test_a_preparation_says_what_it_divides(tmp_path):
    for seed in range(4):
        put(tmp_path, f"{seed}.flac", tiny_music.music(seed, 3.0), artist="Ann")
    settings = preparation.Settings("recordings", str(tmp_path), 8000, 0)
    report = preparation.prepare(settings, recordings, str(tmp_path / "out"), 0)
    assert set(report["records"]) == set(manifest.SPLITS)
    (message,) = report["messages"]
    assert message.startswith("artists are in several splits: together they would be fewer than 3 groups")
