"""Scores without audio: MIDI files and published grids."""

import collections
import dataclasses
import functools
import json
import types

import numpy as np
import pytest
import tiny_scores

from musicgen_jax.codes import score_reader
from musicgen_jax.data import manifest, preparation, shards
from musicgen_jax.data.sources import midi as source
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi


def prepare(folder, out):
    return preparation.prepare(preparation.Settings("midi", str(folder), 8000, seed=0), source, str(out), 0)


def test_midi_files(tmp_path):
    folder = tmp_path / "files"
    for index in range(4):
        path = folder / ("hymns" if index < 2 else "") / f"{index}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        midi.write(path, tiny_scores.score(index))
    midi.write(folder / "again.mid", tiny_scores.score(3))
    (folder / "broken.mid").write_bytes(b"MThd" + bytes(40))
    (folder / "text.txt").write_text("no score")
    report = prepare(folder, tmp_path / "out")
    assert report["files"] == {"ok": 4, "rejected": 2} and report["notes"]["ignored_files"] == {".txt": 1}
    assert report["scores"]["exact"]["tracks"] == 4
    rejected = {row.path: row.reason for row in manifest.read(tmp_path / "out") if row.status == "rejected"}
    assert set(rejected) == {"again.mid", "broken.mid"} and rejected["again.mid"] == "the same notes as: 3.mid"
    found = [
        piece for split in shards.split_names(tmp_path / "out") for piece in
        score_reader.read(str(tmp_path / "out"), split)
    ]  # fmt: skip
    genres = {piece.track_id: piece.labels["genre"] for piece in found}
    assert genres == {"hymns/0.mid": "hymns", "hymns/1.mid": "hymns", "2.mid": "unknown", "3.mid": "unknown"}
    for piece in found:
        read = midi.read(folder / piece.track_id, apply_sustain=True)
        np.testing.assert_array_equal(piece.score.notes, read.notes)
        np.testing.assert_array_equal(piece.score.quarters, read.quarters)


def test_a_grid_keeps_its_split(tmp_path):
    folder = tmp_path / "grids"
    folder.mkdir()
    rows = {"train": [[[72 + i, 65, 60, 48]] * 16 for i in range(3)], "valid": [[[70, 62, 58, -1]] * 8]}
    (folder / "chorales.json").write_text(json.dumps(rows | {"test": [[[71, 62, 58, 40]] * 8]}))
    report = prepare(folder, tmp_path / "out")
    assert report["records"] == {"train": 3, "validation": 1, "test": 1}
    (piece,) = score_reader.read(str(tmp_path / "out"), "validation")
    assert piece.track_id == "chorales.json/valid/000" and len(piece.score.notes) == 3
    assert piece.score.seconds == pytest.approx(2 * 60 / source.GRID_BEATS_PER_MINUTE)
    midi.write(folder / "x.mid", tiny_scores.score(0))
    rows = manifest.read(tmp_path / "both") if prepare(folder, tmp_path / "both") else []
    assert {row.track_id: row.split for row in rows}["x.mid"] == "train"  # one group alone is nothing to hold out
    assert collections.Counter(row.split for row in rows) == {"train": 4, "validation": 1, "test": 1}


@pytest.mark.long
def test_scores_may_stay_in_their_files_until_they_are_written(tmp_path):
    """So that memory does not grow with their number; a file that has gone by then is one rejection."""

    def prepared(name: str, tracks: list, num_workers: int = 0) -> dict:
        made = types.SimpleNamespace(tracks=lambda *_: (tracks, []))
        settings = preparation.Settings("midi", "", 4000, seed=3)
        return preparation.prepare(settings, made, str(tmp_path / name), num_workers)

    for number in range(3):
        midi.write(tmp_path / f"{number}.mid", tiny_scores.score(number))
    eager, lazy = [], []
    for number, item in enumerate(tiny_scores.tracks(3)):
        read = functools.partial(midi.read, tmp_path / f"{number}.mid")
        eager.append(dataclasses.replace(item, score=read()))
        lazy.append(dataclasses.replace(item, score=None, score_from=read))
    prepared("eager", eager)
    report = prepared("lazy", lazy, num_workers=1)
    assert report["scores"]["exact"]["tracks"] == 3
    for path in (path for path in (tmp_path / "eager").iterdir() if path.is_file()):
        assert path.read_bytes() == (tmp_path / "lazy" / path.name).read_bytes(), path.name
    (tmp_path / "2.mid").unlink()
    assert prepared("gone", lazy)["rejections"] == {"failed on second reading": 1}


def test_bad_input(tmp_path):
    with pytest.raises(UserError, match="--source is empty; the dataset midi needs a folder of MIDI files"):
        source.tracks("", 8000, 0, 0)
    with pytest.raises(UserError, match=r"no score in .*ends in \.mid \.midi \.json"):
        source.tracks(str(tmp_path), 8000, 0, 0)
    (tmp_path / "other.json").write_text('{"train": 1}')
    with pytest.raises(UserError, match=r"all 1 files of .* were rejected .*no list of pieces"):
        prepare(tmp_path, tmp_path / "out")
