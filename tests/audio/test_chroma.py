import numpy as np
import pytest

from musicgen_jax.audio import chroma

RATE = 32_000


def tone(pitch: int, seconds: float = 1.0) -> np.ndarray:
    """A tone of a MIDI pitch with two overtones."""
    times = np.arange(round(seconds * RATE)) / RATE
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    return sum(np.sin(2 * np.pi * n * frequency * times) / n for n in (1, 2, 3)).astype(np.float32)


@pytest.mark.parametrize("pitch", [48, 57, 61, 71, 84])
def test_a_tone_is_of_its_pitch_class(pitch):
    assert (chroma.loudest_classes(tone(pitch), RATE) == pitch % 12).all()


def test_a_melody_is_followed_and_silence_is_the_first_class():
    audio = np.concatenate([tone(60, 2), tone(64, 2), tone(67, 2)])
    found = chroma.loudest_classes(audio, RATE)
    assert len(found) == 1 + len(audio) // chroma.HOP_LENGTH
    assert found[3] == 0 and found[len(found) // 2] == 4 and found[-4] == 7
    assert (chroma.loudest_classes(np.zeros(100, np.float32), RATE) == 0).all()


@pytest.mark.parity
def test_the_filter_bank_is_that_of_transformers():
    audio_utils = pytest.importorskip("transformers.audio_utils")
    theirs = audio_utils.chroma_filter_bank(
        num_frequency_bins=chroma.N_FFT, num_chroma=12, sampling_rate=RATE, tuning=0.0
    )
    np.testing.assert_allclose(chroma.filter_bank(RATE), theirs, atol=1e-6)
