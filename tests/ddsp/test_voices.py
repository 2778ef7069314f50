"""Voices against float64 sums: tones, polyphony, ten minutes in tune, no aliases, gradients at silence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax.ddsp import voices

harmonic_voices = jax.jit(voices.harmonic_voices, static_argnums=(3, 4, 5))


def decibels(error, reference):
    return 10 * np.log10(np.sum(np.square(error, dtype=np.float64)) / np.sum(np.square(reference, dtype=np.float64)))


def oracle(f0, cosine, sine, hop_length, sample_rate, overlap):
    """Float64, one sinusoid after the other."""
    num_frames, length = f0.shape[1], overlap * hop_length
    window = (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / length)) * 2 / overlap
    audio = np.zeros((f0.shape[0], num_frames * hop_length + 2 * length))
    time = (np.arange(length) - (length - 1) / 2) / sample_rate
    for row, frame, voice, index in np.ndindex(*cosine.shape):
        hz = (index + 1) * f0[row, frame, voice].astype(np.float64)
        if hz < sample_rate / 2:
            angle = 2 * np.pi * hz * time
            amplitudes = cosine[row, frame, voice, index], sine[row, frame, voice, index]
            first = length + frame * hop_length + (hop_length - length) // 2
            wave = amplitudes[0] * np.cos(angle) + amplitudes[1] * np.sin(angle)
            audio[row, first : first + length] += window * wave
    return audio[:, length : length + num_frames * hop_length]


@pytest.mark.parametrize(("hop_length", "sample_rate", "overlap"), [(128, 16000, 2), (128, 44100, 4), (96, 48000, 2)])
def test_random_polyphony_is_the_float64_sum(hop_length, sample_rate, overlap):
    rng = np.random.default_rng(0)
    f0 = np.exp(rng.uniform(np.log(50), np.log(6000), (2, 7, 3))).astype(np.float32)
    cosine, sine = rng.standard_normal((2, 2, 7, 3, 5)).astype(np.float32)
    audio = np.asarray(harmonic_voices(f0, cosine, sine, hop_length, sample_rate, overlap))
    expected = oracle(f0, cosine, sine, hop_length, sample_rate, overlap)
    assert decibels(audio - expected, expected) < -80


def tone(hz, num_frames, hop_length, sample_rate):
    """Controls of a tone sin(2 pi hz t), phases by float64: what a network must say at every frame."""
    centre = (np.arange(num_frames) + 0.5) * hop_length - 0.5
    turn = 2 * np.pi * (hz * centre / sample_rate % 1.0)
    shape = (1, num_frames, 1, 1)
    f0 = np.full(shape[:3], hz, np.float32)
    return f0, np.sin(turn).reshape(shape).astype(np.float32), np.cos(turn).reshape(shape).astype(np.float32)


@pytest.mark.parametrize("sample_rate", [44100, 48000])
def test_440_hz_is_the_closed_form_also_after_ten_minutes(sample_rate):
    hop_length, num_frames = 128, 600 * sample_rate // 128
    controls = tone(440.0, num_frames, hop_length, sample_rate)
    audio = np.asarray(harmonic_voices(*controls, hop_length, sample_rate))[0]
    for start in (hop_length, len(audio) // 2, len(audio) - sample_rate):  # every frame starts its phase afresh
        position = np.arange(start, start + sample_rate // 2)
        expected = np.sin(2 * np.pi * (440.0 * position / sample_rate % 1.0))
        assert decibels(audio[position] - expected, expected) < -80


@pytest.mark.parametrize("sample_rate", [44100, 48000])
def test_harmonics_from_nyquist_on_are_silent(sample_rate):
    f0 = np.full((1, 20, 1), sample_rate / 8 + 1, np.float32)  # harmonic 4 lies just above Nyquist
    sine = np.ones((1, 20, 1, 12), np.float32)
    audible = sine * (np.arange(12) < 3)
    zeros = np.zeros_like(sine)
    np.testing.assert_array_equal(
        harmonic_voices(f0, zeros, sine, 128, sample_rate), harmonic_voices(f0, zeros, audible, 128, sample_rate)
    )


def test_gradients_are_finite_at_silence_and_right_for_f0():
    f0 = jnp.full((1, 6, 2), 300.0)
    zeros = jnp.zeros((1, 6, 2, 3))
    gradients = jax.grad(lambda *a: jnp.sum(harmonic_voices(*a, 64, 16000)[:, 100] ** 2), argnums=(0, 1, 2))(
        f0, zeros, zeros
    )
    assert all(np.isfinite(g).all() for g in gradients)

    target = np.asarray(harmonic_voices(f0 * 1.02, zeros + 0.1, zeros, 64, 16000))

    def distance(scale):
        return jnp.sum((harmonic_voices(f0 * scale, zeros + 0.1, zeros, 64, 16000) - target) ** 2)

    slope = jax.grad(distance)(jnp.float32(1.0))
    finite_difference = (distance(1.001) - distance(0.999)) / 0.002
    np.testing.assert_allclose(slope, finite_difference, rtol=0.02)
    assert slope < 0  # a higher pitch is nearer to the target


def test_a_window_of_frames_sounds_as_in_the_whole():
    rng = np.random.default_rng(2)
    f0 = rng.uniform(100, 2000, (1, 30, 2)).astype(np.float32)
    cosine, sine = rng.standard_normal((2, 1, 30, 2, 4)).astype(np.float32)
    whole = np.asarray(harmonic_voices(f0, cosine, sine, 32, 16000))
    part = np.asarray(harmonic_voices(f0[:, 10:20], cosine[:, 10:20], sine[:, 10:20], 32, 16000))
    np.testing.assert_allclose(part[:, 32:-32], whole[:, 11 * 32 : 19 * 32], atol=1e-6)


def test_an_odd_overlap_is_refused():
    controls = np.zeros((1, 4, 1, 1), np.float32)
    with pytest.raises(ValueError, match="not an even multiple"):
        voices.harmonic_voices(np.zeros((1, 4, 1), np.float32), controls, controls, 32, 16000, 3)
