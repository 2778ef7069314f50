"""YIN on tones whose frequency is known, at rates of every kind, and on what has none."""

import numpy as np
import pytest

from musicgen_jax.evaluation import fundamental_frequency


def tone(hertz, rate: int, seconds: float = 0.5, harmonics: int = 6) -> np.ndarray:
    hertz = np.broadcast_to(hertz, round(seconds * rate))
    phase = 2 * np.pi * np.cumsum(hertz) / rate
    parts = [np.sin(k * phase) / k for k in range(1, harmonics + 1) if k * hertz.max() < rate / 2]
    return 0.3 * np.sum(parts, axis=0).astype(np.float32)


@pytest.mark.parametrize("rate", [4000, 16_000, 22_050, 44_100])
@pytest.mark.parametrize("midi", [38, 57, 69.37, 81])
def test_a_tone_has_its_pitch(rate, midi):
    found = fundamental_frequency.track(tone(440 * 2 ** ((midi - 69) / 12), rate), rate)
    inside = slice(4, -6)
    assert found.voiced[inside].all()
    assert found.midi[inside] == pytest.approx(midi, abs=0.06)


def test_a_glide_is_followed():
    midi = np.linspace(50, 70, 48_000)
    found = fundamental_frequency.track(tone(440 * 2 ** ((midi - 69) / 12), 16_000, 3.0), 16_000)
    wanted = midi[:: round(0.02 * 16_000)]
    inside = slice(5, -6)
    assert np.mean(found.voiced[inside]) > 0.95
    assert np.abs(found.midi - wanted)[inside][found.voiced[inside]].max() < 0.3


def test_noise_and_silence_have_no_pitch():
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert fundamental_frequency.track(noise, 16_000).voiced.mean() < 0.05
    assert not fundamental_frequency.track(np.zeros(16_000), 16_000).confidence.any()
    assert len(fundamental_frequency.track(np.zeros(1), 16_000).midi) == 1


def test_the_difference_function_is_the_sum_that_it_says():
    frames = np.random.default_rng(0).standard_normal((2, 1024 + fundamental_frequency._MAX_LAG + 1))
    found = fundamental_frequency._difference(frames)
    for lag in (0, 1, 100, fundamental_frequency._MAX_LAG + 1):
        expected = np.sum((frames[:, :1024] - frames[:, lag : lag + 1024]) ** 2, axis=1)
        assert found[:, lag] == pytest.approx(expected, abs=1e-8)
