"""`prepare_data --check`: what it finds in a folder that has one of each fault."""

import dataclasses
import functools
import json
import pathlib
import types
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
import soxr
import tiny_music
import tiny_scores

from musicgen_jax.data import data_check, manifest, preparation
from musicgen_jax.data.sources import midi, recordings
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi as midi_files

RATE = tiny_music.RATE


def settings(dataset: str, source: pathlib.Path | str) -> preparation.Settings:
    return preparation.Settings(dataset, str(source), 8000, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("in")
    for seed in range(5):
        soundfile.write(folder / f"{seed}.flac", tiny_music.music(seed, 6.0), RATE)
    again = soundfile.read(folder / "0.flac", dtype="int16")[0]
    soundfile.write(folder / "again.wav", again, RATE)
    version = soxr.resample(tiny_music.music(1, 6.0)[3000:], RATE, 22050)
    soundfile.write(folder / "version.ogg", np.stack([version, version], axis=1), 22050)
    soundfile.write(folder / "clipped.wav", np.clip(30 * tiny_music.music(7, 6.0), -1, 1), RATE)
    silent = tiny_music.music(8, 6.0)
    silent[RATE:] = 0
    soundfile.write(folder / "silent.wav", silent, RATE)
    (folder / "broken.mp3").write_text("no music " * 100)
    return folder


@pytest.fixture(scope="module")
def found(folder) -> dict:
    return data_check.check(settings("recordings", folder), recordings, 0)


def test_duplicates(found):
    assert found["duplicates"] == {"exact": [["0.flac", "again.wav"]], "near": [["1.flac", "version.ogg"]]}
    assert found["leakage"] == []  # those of a preparation never cross splits


def test_what_is_heard(found):
    assert found["files"] == {"ok": 9, "rejected": 1} and found["rejections"] == {"undecodable": 1}
    assert [row["path"] for row in found["rejected"]] == ["broken.mp3"]
    assert found["warnings"] == {"clipped": 1, "mostly silent": 1}
    assert {row["path"] for row in found["doubtful"]} == {"clipped.wav", "silent.wav"}
    assert found["clipping"]["tracks_above"] == found["silence"]["tracks_above"] == 1
    assert found["sample_rates"] == {"16000": 8, "22050": 1} and found["channels"] == {"1": 8, "2": 1}
    assert found["loudness"]["unmeasured"] == 0 and -40 < found["loudness"]["percentile_50"] < -10
    for name in ("loudness", "peaks", "silence", "clipping", "durations"):
        assert sum(found[name]["counts"]) == 9 and len(found[name]["edges"]) == len(found[name]["counts"]) + 1
    assert json.loads(json.dumps(found)) == found


def test_splits_are_those_of_a_preparation(found, folder, tmp_path):
    preparation.prepare(settings("recordings", folder), recordings, str(tmp_path / "out"), 0)
    rows = [row for row in manifest.read(tmp_path / "out") if row.status == "ok"]
    for split in manifest.SPLITS:
        # The exact duplicate is in the split of the one that a preparation keeps.
        names = {row.track_id for row in rows if row.split == split}
        assert found["splits"][split]["tracks"] == len(names) + ("0.flac" in names)


def test_duplicates_do_not_weigh_in_the_division(tmp_path):
    for seed in range(12):
        soundfile.write(tmp_path / f"{seed:02d}.flac", tiny_music.music(seed, 1.5), RATE)
    for copy in range(8):
        (tmp_path / f"00 copy{copy}.flac").write_bytes((tmp_path / "00.flac").read_bytes())
    found = data_check.check(settings("recordings", tmp_path), recordings, 0)
    preparation.prepare(settings("recordings", tmp_path), recordings, str(tmp_path / "out"), 0)
    rows = [row for row in manifest.read(tmp_path / "out") if row.status == "ok"]
    assert len(rows) == 12 and found["leakage"] == []
    with_copies = {row.split: 8 for row in rows if row.path.startswith("00")}
    counts = {split: sum(row.split == split for row in rows) + with_copies.get(split, 0) for split in manifest.SPLITS}
    assert {split: one["tracks"] for split, one in found["splits"].items()} == counts


@pytest.mark.long
def test_workers_change_nothing(found, folder):
    assert data_check.check(settings("recordings", folder), recordings, 2) == found


def test_a_published_split_may_leak(tmp_path):
    melodies = np.random.default_rng(0).integers(60, 72, (3, 40)).tolist()
    pieces = [[[pitch, 55, 52, 48] for pitch in melody for _ in range(4)] for melody in melodies]
    higher = [[pitch + 2 for pitch in row] for row in pieces[0]]
    text = json.dumps({"train": pieces[:2], "valid": [pieces[2]], "test": [higher]})
    (tmp_path / "grid.json").write_text(text)
    found = data_check.check(settings("midi", tmp_path), midi, 0)
    first, copy = "grid.json/train/000", "grid.json/test/000"
    assert found["duplicates"]["near"] == [[first, copy]]
    (leak,) = (leak for leak in found["leakage"] if leak["kind"] == "near")
    assert leak["splits"] == {"train": [first], "test": [copy]}
    assert "loudness" not in found and sum(found["durations"]["counts"]) == 4
    assert "1 near duplicates" in data_check.summary(found)


def blocks(seed: int | None) -> Iterator[np.ndarray]:
    """What a track is rendered to, at 8000 Hz, if it can be."""
    if seed is None:
        raise UserError("it cannot be played")
    yield tiny_music.music(seed, 4.0)[::2]


def test_every_kind_of_track(tmp_path):
    """Audio that is rendered, and scores that stay in their files."""
    midi_files.write(tmp_path / "a.mid", tiny_scores.score(1))
    assert data_check.check(settings("midi", tmp_path), midi, 0)["files"] == {"ok": 1, "rejected": 0}
    made = [
        dataclasses.replace(item, blocks=functools.partial(blocks, seed), score=None, score_kind="")
        for seed, item in zip((1, 1, 2, None), tiny_scores.tracks(4), strict=True)
    ]
    found = data_check.check(settings("made", ""), types.SimpleNamespace(tracks=lambda *_: (made, [])), 0)
    assert found["files"] == {"ok": 3, "rejected": 1} and found["duplicates"]["exact"] == [["piece00", "piece01"]]
    assert sum(found["loudness"]["counts"]) == 3 and found["rejections"] == {"unreadable": 1}
    with pytest.raises(UserError, match="render=organ: dataset=midi does not take it"):
        options = preparation.Settings("midi", str(tmp_path), 8000, 0, options={"render": "organ"})
        data_check.check(options, midi, 0)
