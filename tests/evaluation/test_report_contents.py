"""What a report shows, kept in the folder of an evaluation and read again."""

import json

import numpy as np
import pytest

from musicgen_jax.evaluation import report, report_contents, report_media
from musicgen_jax.evaluation.samples import Sample
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.scores.score import Score

RATE = 8000
SCORE = Score(np.float32([[60, 0.0, 0.2, 90, 0]]))


def _clip(name, hz):
    return report_media.Clip(name, 0.3 * np.sin(2 * np.pi * hz * np.arange(2000) / RATE), RATE)


@pytest.fixture(scope="module")
def contents():
    samples = [
        Sample(_clip("000.wav", 500), {"seed": 7, "top_p": {"top": 0.9}}, flags=("silent",)),
        Sample(_clip("001.wav", 600), {"seed": 8}, timbre="flute", score=SCORE),
    ]
    curves = {"top": [{"step": 1, "loss": 2.0}, {"step": 3, "loss": None, "other": 1e300}]}
    recordings = [{"top": _clip("BWV 1", 300), "original": _clip("BWV 1", 400)}]
    return report_contents.gather(recordings, samples, curves, {"data": "x", "nested": {"number": 0.5}})


def test_what_is_read_is_what_was_saved(tmp_path, contents):
    report_contents.save(tmp_path, contents)
    assert report_contents.read(tmp_path) == contents
    assert contents.curves["top"].series == {"loss": ((1.0, 2.0),)} and contents.curves["top"].num_dropped == 2
    assert list(contents.recordings[0].versions) == ["original", "top"]
    assert contents.pieces[0].score is None and contents.pieces[1].score.kind == report_media.PIANO_ROLL


def test_of_many_samples_the_first_are_shown(monkeypatch):
    monkeypatch.setattr(report_contents, "MAX_PIECES", 1)
    found = report_contents.gather([], [Sample(_clip(f"{n}.wav", 500), {}) for n in range(3)], {}, {})
    assert [piece.name for piece in found.pieces] == ["0.wav"] and found.num_samples == 3
    assert "The first 1 of 3 samples; the figures are of all." in report._samples(found.pieces, found.num_samples, [])


def test_what_an_earlier_evaluation_left_is_gone(tmp_path, contents):
    report_contents.save(tmp_path, contents)
    fewer = report_contents.Contents(contents.recordings, (), {}, {}, 30)
    report_contents.save(tmp_path, fewer)
    assert report_contents.read(tmp_path) == fewer
    names = {path.name for path in (tmp_path / "media").iterdir()}
    assert names == {f"recording_000_{key}{end}" for key in ("original", "top") for end in (".mp3", ".webp")}


def test_the_same_contents_are_the_same_bytes(tmp_path, contents):
    for name in ("a", "b"):
        report_contents.save(tmp_path / name, contents)
    read = [{path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")} for name in ("a", "b")]
    assert read[0] == read[1] and len(read[0]) == 11


def _change(info, way):
    if way == "outside":
        info["recordings"][0]["versions"]["top"]["file"] = "media/../../secret"
    if way == "absolute":
        info["samples"][0]["performance"]["file"] = "/etc/passwd"
    if way == "gone":
        info["samples"][0]["performance"]["file"] = "media/none"
    if way == "type":
        info["curves"]["top"]["series"]["loss"] = [["1", 2]]
    if way == "field":
        del info["settings"]
    if way == "score":
        info["samples"][1]["score"] = {"name": 3}


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("outside", "no file in media/"),
        ("absolute", "no file in media/"),
        ("gone", "none.mp3 is not there: evaluate again"),
        ("type", "must be a finite number"),
        ("field", "lacks settings"),
        ("score", "lacks "),
    ],
)
def test_damage_is_said(tmp_path, contents, way, message):
    report_contents.save(tmp_path, contents)
    info = json.loads((tmp_path / "report.json").read_text())
    _change(info, way)
    (tmp_path / "report.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match=message):
        report_contents.read(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(NotFoundError, match=r"no report\.json in .*: pass a folder that evaluate"):
        report_contents.read(tmp_path)
