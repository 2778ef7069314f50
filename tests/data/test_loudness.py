"""Loudness against pyloudnorm's own meter, which takes a whole recording at once."""

import numpy as np
import pyloudnorm
import pytest

from musicgen_jax.data import loudness


def measured(audio: np.ndarray, rate: int, block: int = 7777) -> float | None:
    meter = loudness.Loudness(rate)
    for start in range(0, len(audio), block):
        meter.add(audio[start : start + block].astype(np.float32))
    return meter.integrated()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_as_the_whole_at_once(rate):
    rng = np.random.default_rng(rate)
    swell = np.repeat([0.3, 0.01, 0.1, 1e-5, 0.2], 2 * rate)
    audio = (0.5 * swell * rng.standard_normal(len(swell))).astype(np.float32)
    want = pyloudnorm.Meter(rate).integrated_loudness(audio.astype(np.float64))
    assert measured(audio, rate) == pytest.approx(want, abs=0.02)
    assert measured(audio, rate, block=len(audio)) == pytest.approx(measured(audio, rate), abs=1e-9)


def test_the_standard_s_sine():
    sine = np.sin(2 * np.pi * 997 * np.arange(5 * 48000) / 48000)
    # A meter may be off by 0.1 LU (EBU Tech 3341); the filters of pyloudnorm are by 0.04.
    assert measured(sine, 48000) == pytest.approx(-3.01, abs=0.1)
    assert measured(0.1 * sine, 48000) == pytest.approx(measured(sine, 48000) - 20, abs=1e-3)


def test_what_cannot_be_measured():
    assert measured(np.zeros(48000), 48000) is None
    assert measured(np.ones(48000 // 4), 48000) is None
    assert loudness.Loudness(8000).integrated() is None
