"""Noise: what a waveform's position alone decides, and the spectrum that was asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from musicgen_jax.ddsp import noise

SEEDS = np.array([0, 1, 7], np.uint32)


def test_white_noise_is_uniform_white_and_independent_between_seeds():
    audio = np.asarray(noise.white_noise(SEEDS, 0, 2**17))
    assert audio.shape == (3, 2**17) and audio.min() >= -1 and audio.max() <= 1
    np.testing.assert_allclose(audio.mean(axis=1), 0, atol=0.01)
    np.testing.assert_allclose(audio.var(axis=1), 1 / 3, rtol=0.02)
    assert np.abs(np.corrcoef(audio) - np.eye(3)).max() < 0.01
    for lag in (1, 2, 3, 8, 128, 4096):
        assert np.abs(np.mean(audio[:, lag:] * audio[:, :-lag], axis=1)).max() < 0.01
    _, density = scipy.signal.welch(audio[0], nperseg=256)
    assert density[1:-1].max() / density[1:-1].min() < 1.8


@pytest.mark.parametrize("start", [0, 1000, 2**30])
def test_a_piece_is_the_whole_cut(start):
    whole = np.asarray(noise.white_noise(SEEDS, start, 500))
    np.testing.assert_array_equal(noise.white_noise(SEEDS, start + 123, 300), whole[:, 123:423])
    assert not np.array_equal(whole[0], whole[1])


@pytest.mark.long
def test_filtered_noise_has_the_spectrum_that_was_asked_for():
    magnitudes = np.interp(np.arange(65), [0, 16, 32, 64], [0.1, 1.0, 0.5, 0.02]).astype(np.float32)
    hop_length, num_frames = 128, 2000
    white = noise.white_noise(SEEDS[:1], 0, num_frames * hop_length)
    audio = np.asarray(noise.filter_frames(white, np.tile(magnitudes, (1, num_frames, 1)), hop_length))[0]
    # Resolved as the filter's own Hann window resolves it, and as its overlapping frames do.
    _, density = scipy.signal.welch(audio, window="hann", nperseg=128, noverlap=64)
    _, reference = scipy.signal.welch(np.asarray(white)[0], window="hann", nperseg=128, noverlap=64)
    measured = np.sqrt(density / reference)
    error = 20 * np.log10(measured[2:60] / magnitudes[2:60])
    assert np.abs(error).max() < 1.0


def test_a_flat_filter_passes_everything_unchanged():
    audio = np.random.default_rng(0).standard_normal((2, 20 * 64)).astype(np.float32)
    passed = np.asarray(noise.filter_frames(audio, np.ones((2, 20, 17), np.float32), 64))
    np.testing.assert_allclose(passed[:, 64:-64], audio[:, 64:-64], atol=1e-5)


def test_frames_against_a_slow_oracle():
    rng = np.random.default_rng(3)
    hop_length, num_frames, bands = 16, 9, 9
    taps = 2 * (bands - 1)
    audio = rng.standard_normal((1, num_frames * hop_length)).astype(np.float32)
    magnitudes = rng.uniform(0, 1, (1, num_frames, bands)).astype(np.float32)
    grid = np.arange(2 * hop_length)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (grid + 0.5) / (2 * hop_length))
    want = np.zeros(num_frames * hop_length + 200)
    padded = np.pad(audio[0], 100)
    for k in range(num_frames):
        centred = np.fft.fftshift(np.fft.irfft(magnitudes[0, k].astype(np.float64), taps))
        response = centred * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(taps) / taps))
        first = 100 + k * hop_length - hop_length // 2
        filtered = np.convolve(padded[first : first + 2 * hop_length] * window, response)
        want[first - taps // 2 : first - taps // 2 + len(filtered)] += filtered
    got = np.asarray(noise.filter_frames(audio, magnitudes, hop_length))[0]
    np.testing.assert_allclose(got, want[100:-100], atol=1e-5)


@pytest.mark.long
def test_gradients_are_finite_at_zero_magnitude():
    white = noise.white_noise(SEEDS, 0, 320)
    gradient = jax.grad(lambda m: jnp.sum(noise.filter_frames(white, m, 32) ** 2))(jnp.zeros((3, 10, 9)))
    assert np.isfinite(gradient).all()


def test_a_wrong_number_of_frames_is_refused():
    with pytest.raises(ValueError, match="9 frames of magnitudes for 320 samples at hop length 32: 10 are needed"):
        noise.filter_frames(np.zeros((1, 320), np.float32), np.zeros((1, 9, 9), np.float32), 32)
