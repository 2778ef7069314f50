"""Decoding, resampling and 16-bit conversion, against one-shot soxr and soundfile."""

import numpy as np
import pytest
import soundfile
import soxr

from musicgen_jax.data import audio_io


def noise(seconds: float, sample_rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    shape = (int(seconds * sample_rate), channels)
    return (np.random.default_rng(seed).standard_normal(shape) * 0.1).astype(np.float32)


@pytest.mark.parametrize("source_rate", [44100, 48000, 16000, 22050])
def test_streaming_resample_equals_one_shot(tmp_path, source_rate):
    audio = noise(3.3, source_rate, channels=2)
    soundfile.write(tmp_path / "a.wav", audio, source_rate, subtype="FLOAT")
    got = np.concatenate(list(audio_io.read_blocks(tmp_path / "a.wav", 22050, block_seconds=0.31)))
    want = soxr.resample(audio.mean(axis=1, dtype=np.float32), source_rate, 22050, quality="HQ")
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(audio_io.read_audio(tmp_path / "a.wav", 22050), want)


def test_mono_is_the_mean_of_two_channels(tmp_path):
    audio = noise(0.2, 8000, channels=2)
    soundfile.write(tmp_path / "a.wav", audio, 8000, subtype="FLOAT")
    np.testing.assert_allclose(
        audio_io.read_audio(tmp_path / "a.wav", 8000), (audio[:, 0] + audio[:, 1]) / 2, atol=1e-7
    )


def test_int16_round_trip():
    every = np.arange(-32767, 32768, dtype=np.int16)
    np.testing.assert_array_equal(audio_io.to_int16(audio_io.from_int16(every)), every)
    assert audio_io.from_int16(np.array([-32768], np.int16))[0] == -1.0
    np.testing.assert_array_equal(audio_io.to_int16(np.array([2.0, -3.0, 0.0])), [32767, -32767, 0])
    with pytest.raises(ValueError, match="2 samples are NaN or infinite"):
        audio_io.to_int16(np.array([0.0, np.nan, np.inf]))


def test_write_wav_is_16_bit_and_clipped(tmp_path):
    audio = np.array([0.5, 1.5, -1.5, 0.0], np.float32)
    audio_io.write_wav(tmp_path / "a.wav", audio, 8000)
    assert soundfile.info(tmp_path / "a.wav").subtype == "PCM_16"
    np.testing.assert_allclose(audio_io.read_audio(tmp_path / "a.wav", 8000), [0.5, 1, -1, 0], atol=1e-4)
    with pytest.raises(ValueError, match="at least one sample"):
        audio_io.write_wav(tmp_path / "b.wav", np.zeros(0), 8000)


def test_unreadable_files_fail_in_one_line(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.flac").write_text("no audio at all " * 100)
    soundfile.write(tmp_path / "seven.wav", noise(0.1, 8000, channels=7), 8000)
    cases = {"empty.wav": "0 bytes", "text.flac": "undecodable", "seven.wav": "7 channels"}
    for name, rule in cases.items():
        with pytest.raises(ValueError, match=rule) as caught:
            audio_io.read_audio(tmp_path / name, 8000)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such audio file"):
        audio_io.read_audio(tmp_path / "absent.wav", 8000)
