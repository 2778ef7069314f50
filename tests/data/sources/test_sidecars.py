"""MIDI files beside recordings: what becomes a score, and what is said of what does not."""

import itertools

import numpy as np
import pytest
import soundfile

from musicgen_jax.data import audio_dataset, manifest, preparation, shards
from musicgen_jax.data.sources import recordings
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

RATE = 8000


def recording(path, seconds: float = 3.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(path.name.encode()) % 1000
    soundfile.write(path, np.random.default_rng(seed).standard_normal(int(seconds * RATE)) * 0.1, RATE)


def score_of(*onsets: float) -> Score:
    return Score([[60 + place, onset, 1.0, 80, 0] for place, onset in enumerate(onsets)])


@pytest.fixture
def source(tmp_path):
    """Six recordings: with a score, one that ends later, one in capitals; with a broken one, a late one; with none."""
    folder = tmp_path / "in"
    for name in ("piano/a.wav", "piano/b.flac", "c.wav", "broken.wav", "late.wav", "none.wav"):
        recording(folder / name)
    midi.write(folder / "piano/a.mid", score_of(0.0, 0.5))
    midi.write(folder / "piano/b.midi", score_of(0.0, 2.5, 3.5))
    midi.write(folder / "c.MID", score_of(1.0))
    (folder / "broken.mid").write_bytes((folder / "piano/a.mid").read_bytes()[:30])
    midi.write(folder / "late.mid", score_of(5.0))
    midi.write(folder / "alone.mid", score_of(0.0))
    return folder


def test_recordings_have_the_scores_beside_them(source, tmp_path):
    settings = preparation.Settings("recordings", str(source), RATE, 0)
    preparation.prepare(settings, recordings, str(tmp_path / "out"), num_workers=0)
    found = {row.path: row for row in manifest.read(tmp_path / "out")}
    assert {name for name, row in found.items() if row.score.kind == "sidecar"} == {
        "piano/a.wav",
        "piano/b.flac",
        "c.wav",
    }
    # What sounds when the recording ends is cut there, what comes later goes.
    read = (audio_dataset.read_tracks(str(tmp_path / "out"), split) for split in shards.split_names(tmp_path / "out"))
    notes = {facts["track_id"]: facts["notes"] for facts, _ in itertools.chain(*read)}
    np.testing.assert_allclose(notes["piano/b.flac"][:, 1:3], [[0, 1], [2.5, 0.5]], atol=1e-3)
    cut = "side-car cut: b.midi: 1 of 3 notes begin after the 3.00 s of the recording"
    assert [found[name].warning for name in ("piano/a.wav", "piano/b.flac")] == ["", cut]
    assert found["broken.wav"].warning.startswith("side-car left out: broken.mid: truncated")
    assert found["late.wav"].warning == "side-car left out: late.mid: no note within the 3.00 s of the recording"
    assert found["none.wav"].warning == "" and recordings.notes(str(source))["ignored_files"] == {".mid": 1}


def test_the_report_says_what_there_is(source, tmp_path):
    settings = preparation.Settings("recordings", str(source), RATE, 0)
    report = preparation.prepare(settings, recordings, str(tmp_path / "out"), num_workers=0)
    assert report["scores"] == {"": {"tracks": 3, "notes": 0}, "sidecar": {"tracks": 3, "notes": 5}}
    assert report["warnings"] == {"side-car cut": 1, "side-car left out": 2}
    rows = {row.path: row for row in manifest.read(tmp_path / "out")}
    assert rows["c.wav"].score.kind == "sidecar" and "truncated" in rows["broken.wav"].warning
    before = recordings.notes(str(source))["listing_hash"]
    (source / "none.mid").write_bytes((source / "piano/a.mid").read_bytes())
    assert recordings.notes(str(source))["listing_hash"] != before
