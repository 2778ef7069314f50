"""Formant filters: the scan against scipy's lfilter, the frame-wise product of spectra against the scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from musicgen_jax.ddsp import formants

filter_frames = jax.jit(formants.filter_frames, static_argnums=(3, 4))
filter_scan = jax.jit(formants.filter_scan, static_argnums=3)

SAMPLE_RATE = 16000
FREQUENCIES = np.array([270.0, 1500.0, 2500.0, 3500.0])
BANDWIDTHS = np.array([60.0, 90.0, 120.0, 150.0])


def decibels(error, reference):
    return 10 * np.log10(np.sum(np.square(error, dtype=np.float64)) / np.sum(np.square(reference, dtype=np.float64)))


def scipy_cascade(audio):
    for frequency, bandwidth in zip(FREQUENCIES, BANDWIDTHS, strict=True):
        radius, theta = np.exp(-np.pi * bandwidth / SAMPLE_RATE), 2 * np.pi * frequency / SAMPLE_RATE
        denominator = [1, -2 * radius * np.cos(theta), radius**2]
        audio = scipy.signal.lfilter([sum(denominator)], denominator, audio)
    return audio


def noise(batch=2, seconds=1.0):
    return np.random.default_rng(0).normal(size=(batch, int(seconds * SAMPLE_RATE))).astype(np.float32)


def test_scan_is_lfilter():
    audio = noise()
    filtered = filter_scan(audio, FREQUENCIES[None, None], BANDWIDTHS, SAMPLE_RATE)
    expected = scipy_cascade(audio.astype(np.float64))
    assert decibels(np.asarray(filtered) - expected, expected) < -90


def test_magnitudes_are_those_of_the_response():
    bins = np.array([0, 17, 300, 512])
    response = formants.response(jnp.float32(FREQUENCIES), jnp.float32(BANDWIDTHS), SAMPLE_RATE, 1024)
    found = formants.magnitudes(
        jnp.float32(FREQUENCIES), jnp.float32(BANDWIDTHS), jnp.float32(bins * SAMPLE_RATE / 1024), SAMPLE_RATE
    )
    np.testing.assert_allclose(found, np.abs(response)[bins], rtol=1e-4)


@pytest.mark.parametrize("num_samples", [SAMPLE_RATE, SAMPLE_RATE - 333])
def test_frames_are_lfilter_where_formants_stay(num_samples):
    audio = noise()[:, :num_samples]
    frames = formants.num_frames(num_samples, 512)
    still = np.broadcast_to(FREQUENCIES, (2, frames, 4))
    filtered = filter_frames(audio, still, BANDWIDTHS, SAMPLE_RATE, 512)
    expected = scipy_cascade(audio.astype(np.float64))
    assert decibels(np.asarray(filtered) - expected, expected) < -80


def test_frames_follow_slowly_moving_formants_like_the_scan():
    audio = noise(batch=1)
    hop_length = 256
    frames = formants.num_frames(audio.shape[1], hop_length)
    per_frame = FREQUENCIES + np.linspace(0, 200, frames)[None, :, None]
    per_sample = FREQUENCIES + (np.arange(audio.shape[1]) / hop_length * 200 / (frames - 1))[None, :, None]
    wide = BANDWIDTHS * 2  # so that the ringing is short beside a frame
    filtered = filter_frames(audio, per_frame, wide, SAMPLE_RATE, hop_length)
    expected = np.asarray(filter_scan(audio, per_sample, wide, SAMPLE_RATE))
    assert decibels(np.asarray(filtered) - expected, expected) < -30


def test_response_is_freqz_with_unity_gain_at_0_hz_and_peaks_at_the_formants():
    response = np.asarray(formants.response(FREQUENCIES, BANDWIDTHS, SAMPLE_RATE, SAMPLE_RATE))  # a bin a hertz
    impulse = np.zeros(SAMPLE_RATE)
    impulse[0] = 1
    expected = np.fft.rfft(scipy_cascade(impulse))
    np.testing.assert_allclose(response, expected, atol=1e-4 * np.abs(expected).max())
    assert abs(response[0]) == pytest.approx(1, abs=1e-4)
    peaks = scipy.signal.find_peaks(np.abs(response))[0]
    np.testing.assert_allclose(peaks, FREQUENCIES, atol=15)  # the skirts of the lower ones pull each down a little


def test_gain_is_accurate_in_float32_where_a_plain_sum_cancels():
    gain, _, _ = formants.resonator_coefficients(np.float32(30.0), np.float32(5.0), 44100)
    radius, theta = np.exp(-np.pi * 5 / 44100), 2 * np.pi * 30 / 44100
    assert float(gain) == pytest.approx(1 - 2 * radius * np.cos(theta) + radius**2, rel=1e-5)


@pytest.mark.parametrize("frame_wise", [True, False])
def test_gradients_are_finite_in_silence_and_point_the_right_way(frame_wise):
    audio = np.sin(2 * np.pi * 500 * np.arange(2048) / SAMPLE_RATE).astype(np.float32)[None]
    frames = formants.num_frames(2048, 256)

    def energy(audio, frequency, bandwidth):
        if frame_wise:
            still = jnp.broadcast_to(frequency, (1, frames, 1))
            return jnp.sum(formants.filter_frames(audio, still, bandwidth, SAMPLE_RATE, 256) ** 2)
        return jnp.sum(formants.filter_scan(audio, frequency[None, None, None], bandwidth, SAMPLE_RATE) ** 2)

    gradient = jax.jit(jax.grad(energy, argnums=(0, 1, 2)))
    for part in gradient(np.zeros_like(audio), jnp.float32(600.0), jnp.float32(100.0)):
        assert np.isfinite(part).all()
    _, by_frequency, _ = gradient(audio, jnp.float32(600.0), jnp.float32(100.0))
    assert by_frequency < 0  # the formant wants to move down to the tone at 500 Hz
    _, _, by_bandwidth = gradient(audio, jnp.float32(500.0), jnp.float32(100.0))
    assert by_bandwidth < 0  # on the formant, a wider one is lower


def test_wrong_number_of_frames_is_refused():
    with pytest.raises(ValueError, match=r"need 5: see formants\.num_frames"):
        formants.filter_frames(np.zeros((1, 1000)), np.full((1, 4, 1), 500.0), 50.0, SAMPLE_RATE, 256)
