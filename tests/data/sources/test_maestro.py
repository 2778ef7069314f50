"""Source `maestro`: its table, pairs of recordings and MIDI files, and what becomes of those that lack one."""

import csv
import pathlib

import fuzzing
import numpy as np
import pytest
import soundfile
import tiny_scores

from musicgen_jax.codes import score_reader
from musicgen_jax.data import manifest, preparation, shards, soundfont
from musicgen_jax.data.sources import maestro
from musicgen_jax.ddsp import timbres
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

SHARED = pathlib.Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
MINIATURE = SHARED / "maestro-v3.0.0"
HEADER = [*maestro.COLUMNS, "duration"]
ROWS = [
    ["Franz Liszt", "Étude, No. 1", "train", "2018", "2018/a.midi", "2018/a.wav", "np.float64(3.0)"],
    ["Franz Liszt", "Étude, No. 1", "train", "2006", "2006/b.midi", "2006/b.wav", "3.0"],
    ["Clara Schumann", "Romanze", "validation", "2004", "2004/c.midi", "2004/c.wav", ""],
    ["", "Fuge", "test", "", "2004/d.midi", "2004/d.wav", "3.0"],
]
RATES = {"a": 44100, "b": 48000, "c": 48000, "d": 44100}
SECONDS = 3.0


def write_table(folder: pathlib.Path, rows: list[list[str]], header: list[str] = HEADER) -> None:
    with open(folder / "maestro-v3.0.0.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def put_midi(folder: pathlib.Path) -> None:
    for index, row in enumerate(ROWS):
        path = folder / row[4]
        path.parent.mkdir(exist_ok=True)
        midi.write(path, tiny_scores.score(index).cut(0, 4.0).clipped(4.0))


def put_audio(folder: pathlib.Path, names: str = "abcd") -> None:
    for row in ROWS:
        name = pathlib.Path(row[5]).stem
        if name in names:
            (folder / row[5]).parent.mkdir(exist_ok=True)
            noise = 0.1 * np.random.default_rng(ord(name)).standard_normal((round(SECONDS * RATES[name]), 2))
            soundfile.write(folder / row[5], noise, RATES[name])


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    (tmp_path / "in").mkdir()
    write_table(tmp_path / "in", ROWS)
    return tmp_path / "in"


def prepare(folder: pathlib.Path, rate: int = 8000, **options: str) -> tuple[dict, dict[str, manifest.Row]]:
    out = folder.parent / f"out{len(list(folder.parent.iterdir()))}"
    settings = preparation.Settings("maestro", str(folder), rate, 0, options=options)
    report = preparation.prepare(settings, maestro, str(out), 0)
    return report, {row.path: row for row in manifest.read(out)}


def test_recordings_with_what_was_played(folder):
    put_midi(folder)
    put_audio(folder)
    report, rows = prepare(folder)
    assert report["files"] == {"ok": 4} and report["content"] == "audio"
    assert {path: (row.split, row.labels, row.sample_rate, row.score.kind) for path, row in rows.items()} == {
        "2018/a.wav": ("train", {"artist": "Franz Liszt", "year": "2018"}, 44100, "aligned"),
        "2006/b.wav": ("train", {"artist": "Franz Liszt", "year": "2006"}, 48000, "aligned"),
        "2004/c.wav": ("validation", {"artist": "Clara Schumann", "year": "2004"}, 48000, "aligned"),
        "2004/d.wav": ("test", {}, 44100, "aligned"),
    }
    assert report["licence"]["non_commercial"] == ["CC-BY-NC-SA-4.0"] == list(report["licence"]["tracks"])
    assert any("forbids commercial use" in message for message in report["messages"])
    # What was played after the recording's end is no part of it.
    assert all("side-car cut" in row.warning for row in rows.values())
    assert report["seconds"] == {"train": 2 * SECONDS, "validation": SECONDS, "test": SECONDS}


def test_missing_recordings_and_scores_are_told(folder):
    put_midi(folder)
    put_audio(folder, "ac")
    (folder / "2004" / "c.midi").unlink()
    report, rows = prepare(folder)
    assert report["files"] == {"ok": 2, "rejected": 2} and report["rejections"] == {"recording missing": 2}
    assert "--render=synthesizer" in rows["2006/b.wav"].reason
    assert rows["2004/c.wav"].warning == "score missing: 2004/c.midi" and not rows["2004/c.wav"].score.kind


def test_midi_files_alone_are_a_data_set_of_scores(folder, capsys):
    put_midi(folder)
    (folder / "2004" / "d.midi").write_bytes(b"MThd broken")
    report, rows = prepare(folder)
    assert "has no recordings: the data set has scores alone" in capsys.readouterr().err
    assert report["content"] == "scores" and report["files"] == {"ok": 3, "rejected": 1}
    out = next(path for path in folder.parent.iterdir() if path.name.startswith("out"))
    (piece,) = score_reader.read(str(out), "validation")
    assert piece.labels == {"artist": "Clara Schumann", "year": "2004"} and rows["2004/c.midi"].split == "validation"
    np.testing.assert_array_equal(piece.score.notes, midi.read(folder / "2004/c.midi", apply_sustain=True).notes)


@pytest.mark.slow  # all four timbres are compiled
def test_scores_are_played_on_request(folder):
    put_midi(folder)
    put_audio(folder, "a")
    report, rows = prepare(folder, render="synthesizer")
    assert report["files"] == {"ok": 4} and report["content"] == "audio"
    assert [rows[row[4]].labels["genre"] for row in ROWS] == [timbre.name for timbre in timbres.ALL]
    assert {row.score.kind for row in rows.values()} == {"exact"}
    assert rows["2004/d.midi"].split == "test" and rows["2018/a.midi"].labels["artist"] == "Franz Liszt"
    with pytest.raises(UserError, match="render=harp"):
        prepare(folder, render="harp")


def test_scores_are_played_with_a_soundfont(folder, monkeypatch):
    put_midi(folder)
    put_audio(folder, "a")
    (folder / "x.sf2").write_bytes(b"RIFF\0\0\0\0sfbk")
    monkeypatch.setattr(soundfont.shutil, "which", lambda name: "/somewhere")
    played = []
    monkeypatch.setattr(soundfont, "blocks", lambda path, *of: played.append((path, *of)) or iter([np.ones(9000)]))
    tracks, _ = maestro.tracks(str(folder), 8000, 0, 0, soundfont=str(folder / "x.sf2"))
    assert [item.track_id for item in tracks] == [row[4] for row in ROWS]
    assert len(np.concatenate(list(tracks[0].blocks()))) == 9000
    assert played == [(str(folder / ROWS[0][4]), str(folder / "x.sf2"), tracks[0].duration, 8000)]
    with pytest.raises(UserError, match="pass one of them"):
        maestro.tracks(str(folder), 8000, 0, 0, "organ", str(folder / "x.sf2"))


def test_scores_that_cannot_be_played(folder):
    put_midi(folder)
    midi.write(folder / "2018/a.midi", Score([[100, 0.0, 3.0, 80, 0]]))
    midi.write(folder / "2006/b.midi", Score([[60, 0.0, 0.5, 80, 0]]))
    (folder / "2004/c.midi").unlink()
    report, rows = prepare(folder, rate=4000, render="organ")
    assert report["rejections"] == {"missing": 1, "pitch beyond the sample rate": 1, "shorter than 1 s": 1}
    assert rows["2004/d.midi"].status == "ok"


def test_damaged_rows_are_listed_and_the_others_taken(folder):
    put_midi(folder)
    put_audio(folder)
    good = ROWS[0]
    write_table(folder, [
        good,
        good[:3],
        [*good[:2], "dev", *good[3:]],
        [*good[:4], "/etc/passwd", "/etc/passwd", ""],
        [*good[:4], "../a.midi", "../a.wav", ""],
        [*good[:4], "", "", ""],
        [*good[:4], "2018/a.midi", "2006/b.wav", ""],
        good,
    ])  # fmt: skip
    tracks, rejected = maestro.tracks(str(folder), 8000, 0, 0)
    assert [item.track_id for item in tracks] == ["2018/a.wav"]
    assert len(rejected) == 7 and all(item.reason.startswith("damaged row: line ") for item in rejected)
    assert "line 3: 3 columns of 7" in rejected[0].reason and "line 4: its split is 'dev'" in rejected[1].reason
    assert "no file in the folder" in rejected[2].reason and "listed before" in rejected[6].reason


def test_titles_may_have_what_python_takes_for_ends_of_lines(folder):
    put_midi(folder)
    put_audio(folder)
    write_table(folder, [[ROWS[0][0], "in\x85two\u2028or\x0bthree", *ROWS[0][2:]], ROWS[1]])
    rows, rejected = maestro.read_rows(next(folder.glob("maestro-v*.csv")))
    assert rejected == [] and [row.title for row in rows] == ["in\x85two\u2028or\x0bthree", ROWS[1][1]]


def test_bad_input(folder, tmp_path):
    with pytest.raises(UserError, match="source is empty; the dataset maestro"):
        maestro.tracks("", 8000, 0, 0)
    with pytest.raises(UserError, match="is no folder"):
        maestro.tracks(str(tmp_path / "absent"), 8000, 0, 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"must hold one table maestro-v\*\.csv, and holds none"):
        maestro.notes(str(tmp_path / "empty"))
    write_table(folder, ROWS, [*HEADER[:2], "split", *HEADER[3:5], "wav", "duration"])
    with pytest.raises(UserError, match=r"maestro-v3\.0\.0\.csv has no column audio_filename"):
        maestro.tracks(str(folder), 8000, 0, 0)
    for content in (b"", b"\0" * 100, b"\xff\xfe\xfa" * 50):
        (folder / "maestro-v3.0.0.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"has no column canonical_composer|is damaged"):
            maestro.tracks(str(folder), 8000, 0, 0)
    write_table(folder, [])
    with pytest.raises(UserError, match="all 0 files"):
        prepare(folder)


@pytest.mark.skipif(not MINIATURE.is_dir(), reason="no published files beside the checkout")
def test_the_published_layout():
    tracks, rejected = maestro.tracks(str(MINIATURE), 16000, 0, 0)
    assert [(item.labels, item.split, item.score_kind) for item in tracks] == [
        ({"artist": "Alban Berg", "year": "2018"}, "train", "aligned")
    ]
    assert len(rejected) == 8 and {item.reason.split(":")[0] for item in rejected} == {"recording missing"}
    scored, unfit = maestro.tracks(str(MINIATURE), 16000, 0, 0, render="flute")
    assert len(scored) == 9 and not unfit and max(item.duration for item in scored) > 2000
    assert {item.split for item in scored} == set(manifest.SPLITS)
    assert min(item.duration for item in scored) > shards.SEGMENT_SECONDS


@pytest.mark.slow
def test_two_hundred_damaged_tables(folder):
    put_midi(folder)
    put_audio(folder)
    path = folder / "maestro-v3.0.0.csv"
    inputs = fuzzing.mutations(path.read_bytes(), 0, 200)
    fuzzing.survey_file(path, lambda _: (maestro.notes(str(folder)), maestro.tracks(str(folder), 8000, 0, 0)), inputs)
