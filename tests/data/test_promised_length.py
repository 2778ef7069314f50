"""Cut files: what libsndfile hides is found in the container."""

import numpy as np
import pytest
import soundfile

from musicgen_jax.data import promised_length

RATE = 22050


def write_noise(path, seconds=6, **options):
    # In blocks: libsndfile's Vorbis encoder overflows its stack when given a long array at once.
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1, **options) as file:
        for _ in range(seconds):
            file.write(rng.standard_normal(RATE) * 0.1)


def truncation_of(path):
    with soundfile.SoundFile(path) as file:
        decoded = 0
        try:
            while block := len(file.read(RATE)):
                decoded += block
        except soundfile.LibsndfileError:
            pass
        return promised_length.truncation(path, decoded, file.frames)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_cut_files_are_truncated_and_whole_ones_are_not(tmp_path, extension):
    whole, cut = tmp_path / f"whole.{extension}", tmp_path / f"cut.{extension}"
    write_noise(whole)
    assert truncation_of(whole) == ""
    data = whole.read_bytes()
    for share in (0.5, 0.9):
        cut.write_bytes(data[: int(share * len(data))])
        assert truncation_of(cut) != ""


def test_wav_recorded_to_a_pipe_is_not_truncated(tmp_path):
    path = tmp_path / "a.wav"
    write_noise(path, seconds=1)
    data = bytearray(path.read_bytes())
    at = data.find(b"data") + 4
    data[at : at + 4] = b"\xff" * 4
    path.write_bytes(data)
    assert truncation_of(path) == ""


def test_trailing_id3v1_tag_is_no_truncation(tmp_path):
    path = tmp_path / "a.mp3"
    write_noise(path, seconds=2)
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    assert truncation_of(path) == ""


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_frames_counts_the_samples(tmp_path, mode):
    path = tmp_path / "a.mp3"
    write_noise(path, bitrate_mode=mode, compression_level=0.5)
    path.write_bytes(b"ID3\x03\0\0\0\0\x01\x48" + bytes(200) + path.read_bytes())
    with open(path, "rb") as file:
        counted = promised_length.mp3_frames(file)
    assert 6 * RATE <= counted <= 6 * RATE + 4096  # the encoder's delay, its padding and the Xing frame


def test_variable_bitrate_mp3_without_xing_header(tmp_path):
    # libsndfile guesses the length from the first frames' bitrate and stops there: most of the audio would be lost.
    path = tmp_path / "a.mp3"
    time = np.arange(20 * RATE) / RATE
    tone, loud = 0.5 * np.sin(440 * time), np.random.default_rng(0).standard_normal(len(time)) * 0.1
    soundfile.write(path, np.where(time < 17, tone, loud), RATE, bitrate_mode="VARIABLE", compression_level=0.5)
    data = path.read_bytes()
    assert truncation_of(path) == ""
    second_frame = data.find(data[:2], 4)
    path.write_bytes(data[second_frame:])
    with soundfile.SoundFile(path) as file:
        assert file.frames < 15 * RATE
    assert "frames can be decoded" in truncation_of(path)
