"""The anchors: BS.1534's mask at any rate, and not a sample of delay."""

import numpy as np
import pytest
import scipy.signal

from musicgen_jax.listening import anchors

RATES = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000]


def decibels(response):
    return 20 * np.log10(np.maximum(np.abs(response), 1e-9))


@pytest.mark.parametrize("name", anchors.CUTOFFS)
@pytest.mark.parametrize("sample_rate", RATES)
def test_the_mask(name, sample_rate):
    cutoff = anchors.CUTOFFS[name]
    if anchors.unavailable(name, sample_rate):
        assert sample_rate / 2 < 8 / 7 * cutoff
        return
    taps = anchors.low_pass(cutoff, sample_rate)
    hertz, response = scipy.signal.freqz(taps, worN=np.linspace(0, sample_rate / 2, 20001), fs=sample_rate)
    level = decibels(response)
    assert np.abs(level[hertz <= cutoff]).max() <= 0.1
    assert level[hertz >= cutoff * 8 / 7].max() <= -25
    assert level[hertz >= cutoff * 9 / 7].max(initial=-50) <= -50


@pytest.mark.parametrize("sample_rate", [11025, 24000, 44100])
def test_no_delay(sample_rate):
    """An impulse stays where it is, in the middle of a response that is the same on both sides."""
    impulse = np.zeros((4001, 2))
    impulse[2000] = 1
    made = anchors.make(impulse, "anchor35", sample_rate)
    assert made.shape == impulse.shape and np.abs(made).argmax(axis=0).tolist() == [2000, 2000]
    np.testing.assert_allclose(made, made[::-1], atol=1e-12)


def test_tones_below_pass_in_phase_and_tones_above_are_gone():
    time = np.arange(24000) / 24000
    low, high = np.sin(2 * np.pi * 1000 * time), np.sin(2 * np.pi * 5000 * time)
    made = anchors.make((low + high)[:, None], "anchor35", 24000)[1000:-1000, 0]
    np.testing.assert_allclose(made, low[1000:-1000], atol=2e-3)


def test_a_clip_shorter_than_the_filter():
    assert anchors.make(np.ones((50, 1)), "anchor35", 48000).shape == (50, 1)


def test_rates_without_room_have_a_reason():
    assert "7 kHz" in anchors.unavailable("anchor70", 11025) and not anchors.unavailable("anchor35", 11025)
