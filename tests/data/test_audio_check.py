"""One pass over a file tells what is to be known of it and yields its audio, whatever a caller does meanwhile."""

import numpy as np
import pytest
import soundfile

from musicgen_jax.data import audio_check, audio_io


@pytest.fixture(scope="module")
def stereo(tmp_path_factory) -> str:
    audio = np.random.default_rng(0).standard_normal((50_000, 2)) * 0.3
    path = tmp_path_factory.mktemp("check") / "stereo.wav"
    soundfile.write(path, audio, 16000, subtype="FLOAT")
    return str(path)


@pytest.mark.parametrize("sample_rate", [16000, 11025])
def test_the_audio_of_the_pass_is_that_of_a_reading_and_the_facts_are_those_of_a_check(stereo, sample_rate):
    inspection = audio_check.Inspection(stereo, 1.0)
    audio = np.concatenate(list(inspection.blocks(sample_rate)))
    np.testing.assert_array_equal(audio, audio_io.read_audio(stereo, sample_rate))
    assert inspection.facts == audio_check.inspect(stereo, 1.0)
    assert inspection.facts.duration == 50_000 / 16000 and inspection.facts.channels == 2


def test_the_mean_of_two_channels_is_numpys():
    rng = np.random.default_rng(0)
    block = rng.standard_normal((1000, 2)).astype(np.float32) * 10.0 ** rng.integers(-30, 30, (1000, 2))
    block = block.astype(np.float32)
    np.testing.assert_array_equal(audio_io.mixed(block), block.mean(axis=1, dtype=np.float32))
    np.testing.assert_array_equal(audio_io.mixed(block[:, :1]), block[:, 0])


def test_what_goes_wrong_with_a_block_is_not_the_files_fault(stereo):
    inspection = audio_check.Inspection(stereo, 1.0)
    with pytest.raises(OSError, match="disk is full"):
        for _ in inspection.blocks(16000):
            raise OSError("the disk is full")
    assert inspection.facts.reason == ""


def test_a_bad_file_ends_and_says_why(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    inspection = audio_check.Inspection(str(tmp_path / "x.wav"), 1.0)
    assert list(inspection.blocks(16000)) == [] and inspection.facts.reason
