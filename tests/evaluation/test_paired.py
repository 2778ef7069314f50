"""Samples and the recordings of their names: which belong together, and what is compared of them."""

import numpy as np
import pytest
import soundfile

from musicgen_jax.evaluation import paired

RATE = 8000
NOISE = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    for name, audio, rate in (("a.wav", NOISE, RATE), ("b.flac", NOISE[:RATE], RATE)):
        soundfile.write(tmp_path / name, audio, rate, subtype="PCM_24")
    (tmp_path / "notes.txt").write_text("no recording")
    return tmp_path


def test_a_gain_to_each_recording(folder):
    found, alone = paired.find(["a.wav", "b.wav", "c.wav"], str(folder))
    assert {name: path.name for name, path in found.items()} == {"a.wav": "a.wav", "b.wav": "b.flac"}
    assert alone == {"samples.reconstruction.c.wav": f"{folder} has no audio file c.*"}
    measured, absent = paired.compare({"a.wav": 0.5 * NOISE, "b.wav": 0.25 * NOISE}, found, RATE)
    errors = [row["loudness_error_db"] for row in measured["tracks"]]
    assert errors == pytest.approx([20 * np.log10(2), 20 * np.log10(4)], abs=0.05)
    assert measured["loudness_error_db"] == pytest.approx(np.mean(errors))
    # Noise has no pitch; and of b the second second compares with nothing.
    assert absent.keys() == {"b.wav.rest", "f0_error_semitones", "f0_voicing_recall"}
    assert "it has 2.00 s, its recording 1.00 s" in absent["b.wav.rest"]


def test_names_that_do_not_match(folder, tmp_path):
    with pytest.raises(ValueError, match=r"none of its 2 audio files \(a, b\) has the name of a sample \(000.wav\)"):
        paired.find(["000.wav"], str(folder))
    with pytest.raises(FileNotFoundError, match="nowhere is no folder: pass one with"):
        paired.find(["000.wav"], str(tmp_path / "nowhere"))


def test_a_recording_that_is_damaged_costs_its_sample_alone(folder):
    found, _ = paired.find(["a.wav", "b.wav"], str(folder))
    (folder / "b.flac").write_bytes(b"fLaC")
    measured, absent = paired.compare({"a.wav": NOISE, "b.wav": NOISE}, found, RATE)
    assert [row["track"] for row in measured["tracks"]] == ["a.wav"] and "b.flac" in absent["b.wav"]
