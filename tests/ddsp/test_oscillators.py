"""The oscillators against float64 sums, in tune after ten minutes, free of aliases."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax.ddsp import oscillators

harmonic_oscillators = jax.jit(oscillators.harmonic_oscillators, static_argnums=2)
running_phase = jax.jit(oscillators.phase, static_argnums=1)


def decibels(error, reference):
    return 10 * np.log10(np.sum(np.square(error, dtype=np.float64)) / np.sum(np.square(reference, dtype=np.float64)))


def oracle(f0, amplitudes, sample_rate):
    """Float64, sample by sample amplitudes [B, S, H], a sine a harmonic."""
    angle = 2 * np.pi * np.cumsum(f0.astype(np.float64) / sample_rate, axis=-1)
    audio = np.zeros(f0.shape)
    for index in range(amplitudes.shape[-1]):
        audible = (index + 1) * f0 < sample_rate / 2
        audio += audible * amplitudes[..., index] * np.sin((index + 1) * angle)
    return audio


@pytest.mark.parametrize("sample_rate", [16000, 22050, 44100])
def test_440_hz_with_harmonics_is_the_float64_tone(sample_rate):
    f0 = np.full((1, sample_rate), 440.0, np.float32)
    amplitudes = np.tile(1 / np.arange(1, 31, dtype=np.float32), (1, f0.shape[1], 1))
    audio = np.asarray(harmonic_oscillators(f0, amplitudes, sample_rate))
    expected = oracle(f0, amplitudes, sample_rate)
    assert decibels(audio - expected, expected) < -80


def test_gliding_f0_and_moving_amplitudes_follow_float64():
    rng = np.random.default_rng(0)
    f0 = np.exp(np.linspace(np.log([100.0, 3000.0]), np.log([900.0, 150.0]), 16000, axis=-1)).astype(np.float32)
    amplitudes = rng.uniform(0, 1, (2, 16000, 12)).astype(np.float32)
    audio = np.asarray(harmonic_oscillators(f0, amplitudes, 16000))
    expected = oracle(f0, amplitudes, 16000)
    assert decibels(audio - expected, expected) < -80


def test_frame_controls_are_straight_lines_between_frames():
    rng = np.random.default_rng(1)
    hop_length, frames = 64, rng.uniform(0, 1, (1, 50, 3)).astype(np.float32)
    position = np.arange(50 * hop_length) / hop_length
    per_sample = np.stack([np.interp(position, np.arange(50), frames[0, :, h]) for h in range(3)], axis=-1)[None]
    f0 = np.full((1, 50 * hop_length), 333.0, np.float32)
    audio = np.asarray(harmonic_oscillators(f0, frames, 16000))
    expected = oracle(f0, per_sample, 16000)
    assert decibels(audio - expected, expected) < -80


def test_parts_are_the_whole(monkeypatch):
    rng = np.random.default_rng(2)
    frames = rng.uniform(0, 1, (2, 11, 3)).astype(np.float32)
    f0 = rng.uniform(100, 900, (2, 11 * 16)).astype(np.float32)
    found = []
    for samples in (1, 64, 11 * 16):  # a frame at a time, four with a rest of three, all at once
        monkeypatch.setattr(oscillators, "PART_SAMPLES", samples)
        found.append(np.asarray(oscillators.harmonic_oscillators(f0, frames, 16000)))
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    np.testing.assert_allclose(found[1], found[2], atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("hz", [61.7354, 440.0, 3520.123])
def test_phase_stays_exact_for_ten_minutes(hz):
    sample_rate, num_samples = 22050, 600 * 22050
    f0 = np.full(num_samples, hz, np.float32)
    phase = np.asarray(running_phase(f0, sample_rate))
    steps = np.arange(num_samples - sample_rate, num_samples) + 1
    drift = phase[-sample_rate:] - float(f0[0]) / sample_rate * steps
    drift -= np.round(drift)
    assert np.abs(drift).max() < 2e-3
    # What a float32 sum would have made of it: the reason for fixed point.
    naive = np.cumsum(f0 / np.float32(sample_rate), dtype=np.float32)[-1] - float(f0[0]) / sample_rate * num_samples
    assert abs(naive) > 1


def test_phase_of_a_changing_f0_is_the_float64_sum():
    f0 = (440 * 2 ** (0.02 * np.sin(np.arange(500_000) / 900))).astype(np.float32)
    drift = np.asarray(running_phase(f0, 22050)) - np.cumsum(f0.astype(np.float64)) / 22050
    assert np.abs(drift - np.round(drift)).max() < 1e-5


def test_gradient_of_the_phase_is_that_of_the_real_sum():
    weights = np.random.default_rng(2).normal(size=200).astype(np.float32)
    gradient = jax.grad(lambda f0: jnp.sum(weights * oscillators.phase(f0, 8000)))(jnp.full(200, 440.0))
    np.testing.assert_allclose(gradient, np.cumsum(weights[::-1])[::-1] / 8000, atol=1e-6)


def test_harmonics_at_and_above_nyquist_are_silent():
    sample_rate, num_samples = 16000, 16000
    amplitudes = np.ones((1, num_samples, 40), np.float32)
    audio = np.asarray(harmonic_oscillators(np.full((1, num_samples), 1000.0), amplitudes, sample_rate))[0]
    spectrum = np.abs(np.fft.rfft(audio)) / (num_samples / 2)
    np.testing.assert_allclose(spectrum[1000:8000:1000], 1, atol=1e-4)  # one bin a hertz: 1 to 7 kHz sound
    spectrum[1000:8000:1000] = 0
    assert spectrum.max() < 1e-4  # and nothing else does, the eighth, at Nyquist, included
    # 700 Hz: harmonics from the twelfth on, left alone, would alias to 7600, 6900, ... Hz.
    audio = np.asarray(harmonic_oscillators(np.full((1, num_samples), 700.0), amplitudes, sample_rate))[0]
    spectrum = np.abs(np.fft.rfft(audio)) / (num_samples / 2)
    spectrum[700:8000:700] = 0
    assert spectrum.max() < 1e-4


@pytest.mark.long
def test_gradients_are_finite_and_right_at_zero_amplitude():
    f0 = np.full((1, 512), 200.0, np.float32)

    def energy(f0, amplitudes):
        return jnp.sum(oscillators.harmonic_oscillators(f0, amplitudes, 8000) * 0.5)

    # XLA's older emitters of loops, which the suite compiles with, take a minute and 8 GB for this one.
    older = "xla_cpu_use_fusion_emitters" in os.environ["XLA_FLAGS"]
    options = {"xla_cpu_use_fusion_emitters": True} if older else None
    gradient = jax.jit(jax.grad(energy, argnums=(0, 1)), compiler_options=options)
    by_f0, by_amplitude = gradient(f0, np.zeros((1, 8, 30), np.float32))
    assert np.all(np.asarray(by_f0) == 0)
    assert np.isfinite(by_amplitude).all()
    assert np.abs(by_amplitude[..., :19]).max() > 0
    assert np.all(np.asarray(by_amplitude[..., 19:]) == 0)  # 4000 Hz and above


def test_frames_that_do_not_divide_the_samples_are_refused():
    with pytest.raises(ValueError, match=r"dividing S: pad f0"):
        oscillators.harmonic_oscillators(np.zeros((1, 100)), np.zeros((1, 7, 2)), 8000)
