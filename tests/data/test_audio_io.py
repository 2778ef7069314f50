"""Decoding, resampling and 16-bit conversion, against one-shot soxr and soundfile."""

import errno
import os

import numpy as np
import pytest
import soundfile
import soxr

from musicgen_jax.data import audio_io
from musicgen_jax.data.containers import content
from musicgen_jax.runtime.errors import UserError


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


@pytest.mark.parametrize("rate", [1, 1999, 768_001, 2**31 - 1])
def test_absurd_sample_rates_are_refused_before_decoding(tmp_path, rate):
    data = wav_of_rate(tmp_path, rate)
    with pytest.raises(UserError, match=f"a.wav: sample rate out of range: {rate} Hz"):
        audio_io.read_audio(data, 16000)


@pytest.mark.parametrize("rate", [2000, 768_000])
def test_sample_rates_at_the_bounds_are_read(tmp_path, rate):
    assert len(audio_io.read_audio(wav_of_rate(tmp_path, rate), 2000)) == round(8000 * 2000 / rate)


def wav_of_rate(folder, rate: int):
    soundfile.write(folder / "a.wav", noise(1.0, 8000), 8000)
    data = bytearray((folder / "a.wav").read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    (folder / "a.wav").write_bytes(data)
    return folder / "a.wav"


def test_absurd_lengths_are_refused(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.flac", np.full(400_000, 0.25, np.float32), 8000)
    assert len(audio_io.read_audio(tmp_path / "a.flac", 8000)) == 400_000
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"a\.flac: too long: more than 0 hours"):
        patch.setattr(audio_io, "MAX_SECONDS", 40)
        audio_io.read_audio(tmp_path / "a.flac", 8000)
    monkeypatch.setattr(audio_io, "FREE_BYTES", 0)
    monkeypatch.setattr(audio_io, "MAX_EXPANSION", 10)
    with pytest.raises(UserError, match=r"a\.flac: implausible: \d+ bytes become more than \d+ s"):
        audio_io.read_audio(tmp_path / "a.flac", 8000)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    (tmp_path / "folder.wav").mkdir()
    for name, kind in (("fifo", "a FIFO"), ("zero", "a device"), ("folder", "a folder")):
        with pytest.raises(UserError, match=rf"{name}\.wav: no regular file: it is {kind}"):
            audio_io.read_audio(tmp_path / f"{name}.wav", 8000)


def test_an_error_of_the_disk_is_no_short_file(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.flac", noise(20.0, 16000), 16000)

    def read(file, position, count, whole=content.bytes_at):
        if position > 200_000:
            raise OSError(errno.EIO, "Input/output error")
        return whole(file, position, count)

    monkeypatch.setattr(content, "bytes_at", read)
    with pytest.raises(OSError, match="Input/output error"):
        audio_io.read_audio(tmp_path / "a.flac", 8000)
