"""Clips come out equally loud, and none with a peak that clips."""

import numpy as np
import pytest

from musicgen_jax.audio import signal_checks
from musicgen_jax.data import loudness
from musicgen_jax.listening import levels
from musicgen_jax.runtime.errors import UserError

RATE = 16000


def noise(level, seconds=2.0, channels=1, seed=0):
    return level * np.random.default_rng(seed).standard_normal((round(seconds * RATE), channels))


def test_equal_loudness():
    audio = {"loud": noise(0.2), "soft": noise(0.01, seed=1)}
    gains = levels.gains(audio, RATE, "x", {})
    made = [levels.lufs(levels.amplified(audio[name], gains[name], RATE), RATE) for name in audio]
    np.testing.assert_allclose(made, levels.TARGET_LUFS, atol=0.05)


def test_a_peak_lowers_all_of_the_item():
    spiky = noise(0.001)
    spiky[8000] = 1.0
    audio = {"spiky": spiky, "plain": noise(0.1)}
    gains = levels.gains(audio, RATE, "x", {})
    made = {name: levels.amplified(audio[name], gains[name], RATE) for name in audio}
    loud = [levels.lufs(one, RATE) for one in made.values()]
    assert abs(loud[0] - loud[1]) < 0.1 and loud[0] < levels.TARGET_LUFS - 1
    peak = 20 * np.log10(signal_checks.true_peak(made["spiky"][:, 0]))
    assert peak == pytest.approx(levels.MAX_TRUE_PEAK_DB, abs=0.01)


def test_an_anchor_has_the_gain_of_its_reference():
    audio = {"reference": noise(0.1), "anchor35": noise(0.01)}
    gains = levels.gains(audio, RATE, "x", {"anchor35": "reference"})
    assert gains["anchor35"] == gains["reference"]


def test_two_channels_of_the_same_are_three_decibels_louder():
    one = noise(0.1)
    assert levels.lufs(np.repeat(one, 2, axis=1), RATE) - levels.lufs(one, RATE) == pytest.approx(3.01, abs=0.01)


def test_blocks_of_two_channels_are_the_whole():
    audio, meter = noise(0.1, channels=2), loudness.Loudness(RATE, 2)
    for start in range(0, len(audio), 777):
        meter.add(audio[start : start + 777])
    assert meter.integrated() == pytest.approx(levels.lufs(audio, RATE), abs=1e-9)


def test_what_has_no_loudness_is_refused():
    with pytest.raises(UserError, match="tune of quiet is below -70 LUFS"):
        levels.gains({"quiet": noise(1e-6)}, RATE, "tune", {})


def test_ends_are_faded():
    made = levels.amplified(np.ones((RATE, 1)), 0.0, RATE)
    assert abs(made[0, 0]) < 1e-3 and abs(made[-1, 0]) < 1e-3 and made[RATE // 2, 0] == 1
