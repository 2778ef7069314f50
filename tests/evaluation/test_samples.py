"""Folders of samples, whole and half written, and files in them that cannot be judged."""

import json
import types

import numpy as np
import pytest
import soundfile
import tiny_layouts
from conftest import SAMPLE_RATE, tones

from musicgen_jax.evaluation import samples

TOKENIZER = types.SimpleNamespace(layout=tiny_layouts.of_vqvae(SAMPLE_RATE))


@pytest.fixture
def folder(tmp_path):
    """Two samples that are well, and samples.json of them."""
    for index in range(2):
        soundfile.write(tmp_path / f"{index:03d}.wav", tones(index, SAMPLE_RATE), SAMPLE_RATE)
    describe(tmp_path, "000.wav", "001.wav")
    return tmp_path


def describe(folder, *names: str) -> None:
    info = {"request": {"seed": 7}, "sample_rate": SAMPLE_RATE, "samples": [{"file": name} for name in names]}
    (folder / "samples.json").write_text(json.dumps(info))


def read(folder) -> samples.Folder:
    return samples.read_samples(str(folder), TOKENIZER)


def test_sounds_stay_in_their_files(folder):
    found = read(folder)
    assert [one.sound.name for one in found.samples] == ["000.wav", "001.wav"]
    assert (found.left_out, found.notes) == ({}, {})
    assert isinstance(found.samples[0].sound, samples.FileClip) and found.samples[0].sound.seconds == 1
    np.testing.assert_allclose(found.samples[1].clip.audio, tones(1, SAMPLE_RATE), atol=1e-4)


def test_a_folder_that_is_half_written(folder):
    (folder / "samples.json").unlink()
    found = read(folder)
    assert [one.sound.name for one in found.samples] == ["000.wav", "001.wav"]
    assert "sample has not finished it" in found.notes["samples.json"]
    assert "run the same sample again" in found.notes["samples.json"]


def test_files_that_cannot_be_judged_are_left_out(folder):
    nan = np.full(SAMPLE_RATE, np.nan, np.float32)
    soundfile.write(folder / "nan.wav", nan, SAMPLE_RATE, subtype="FLOAT")
    soundfile.write(folder / "empty.wav", nan[:0], SAMPLE_RATE)
    (folder / "text.wav").write_text("no sound at all")
    describe(folder, "nan.wav", "000.wav", "empty.wav", "text.wav", "gone.wav")
    found = read(folder)
    assert [one.sound.name for one in found.samples] == ["000.wav"]
    assert found.left_out.keys() == {"nan.wav", "empty.wav", "text.wav", "gone.wav"}
    assert "4000 of its 4000 samples are not finite: the model diverged" in found.left_out["nan.wav"]
    assert "gone.wav" in found.left_out["gone.wav"] and "text.wav" in found.left_out["text.wav"]


def test_nothing_that_can_be_judged(folder, tmp_path):
    (folder / "000.wav").write_text("")
    describe(folder, "000.wav")
    with pytest.raises(ValueError, match=r"nothing in it can be judged; 000\.wav: .*0 bytes"):
        read(folder)
    describe(folder)
    with pytest.raises(ValueError, match="it names no sample"):
        read(folder)
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(FileNotFoundError, match=rf"{name}.*pass a folder that sample wrote"):
            read(tmp_path / name)


def test_a_file_at_another_rate_is_resampled_and_said_to_be(folder):
    soundfile.write(folder / "001.wav", tones(1, 8000, 8000), 8000)
    found = read(folder)
    assert found.notes == {"001.wav": "is at 8000 Hz, and is judged at 4000 Hz, resampled"}
    assert found.samples[1].sound.seconds == pytest.approx(1, abs=0.01)


def test_silence_is_judged_and_flagged(folder):
    soundfile.write(folder / "000.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    assert read(folder).samples[0].flags == ("silent",)


def test_names_that_are_told_twice_or_lie_elsewhere(folder):
    describe(folder, "000.wav", "000.wav")
    with pytest.raises(ValueError, match=r"names 000\.wav 2 times"):
        read(folder)
    describe(folder, "../000.wav")
    with pytest.raises(ValueError, match="which is no file beside it"):
        read(folder)
