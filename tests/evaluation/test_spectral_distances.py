"""Distances between spectra, beside librosa's and beside what a gain must give."""

import librosa
import numpy as np
import pytest

from musicgen_jax.evaluation import spectral_distances

RATE = 16_000
RNG = np.random.default_rng(0)
# Longer than two segments of the STFT at every FFT size, and a multiple of no hop.
NOISE = RNG.standard_normal(70_003).astype(np.float32) * 0.1
OTHER = RNG.standard_normal(70_003).astype(np.float32) * 0.1


def measured(reference: np.ndarray, other: np.ndarray) -> dict[str, float]:
    return {name: one[0] for name, one in spectral_distances.measure(reference, other[None], RATE).items()}


def magnitude(audio: np.ndarray, n_fft: int, hop_length: int, window_length: int) -> np.ndarray:
    settings = {"n_fft": n_fft, "hop_length": hop_length, "win_length": window_length, "pad_mode": "constant"}
    return np.abs(librosa.stft(audio.astype(np.float64), **settings))


def energy(n_fft: int) -> float:
    return np.sqrt(np.sum(librosa.filters.get_window("hann", n_fft) ** 2))


@pytest.mark.parametrize("num_samples", [1, 300, 5000, 70_003])
def test_convergence_equals_librosa(num_samples):
    reference, other = (magnitude(audio[:num_samples], 2048, 256, 1536) for audio in (NOISE, OTHER))
    expected = np.linalg.norm(reference - other) / np.linalg.norm(reference)
    ours = measured(NOISE[:num_samples], OTHER[:num_samples])
    assert ours["spectral_convergence"] == pytest.approx(expected, rel=1e-4)


def test_convergence_of_silence_scaling_and_identity():
    silence = np.zeros_like(NOISE)
    assert measured(NOISE, silence)["spectral_convergence"] == pytest.approx(1.0, rel=1e-6)
    assert measured(NOISE, 0.9 * NOISE)["spectral_convergence"] == pytest.approx(0.1, rel=1e-4)
    assert set(measured(NOISE, NOISE).values()) == {0.0}
    assert set(measured(silence, silence).values()) == {0.0}
    assert np.isfinite(measured(silence, NOISE)["spectral_convergence"])


def test_multiscale_mse_equals_librosa():
    errors = []
    for n_fft in spectral_distances.MULTISCALE_FFT_SIZES:
        a, b = (magnitude(audio, n_fft, n_fft // 4, n_fft) / energy(n_fft) for audio in (NOISE, OTHER))
        squared = (a - b) ** 2
        errors.append(np.concatenate([squared, squared[1:-1]]).mean())
    assert measured(NOISE, OTHER)["multiscale_spectral_mse"] == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.parametrize("kind", ["noise", "tone", "constant"])
def test_error_of_a_silent_reconstruction_is_the_power_at_every_fft_size(kind):
    time = np.arange(len(NOISE))
    audio = {"noise": NOISE, "tone": np.sin(0.3 * time), "constant": np.full(len(NOISE), 0.5)}[kind].astype(np.float32)
    pair = np.stack([audio, np.zeros_like(audio)])
    for n_fft in spectral_distances.MULTISCALE_FFT_SIZES:
        error = spectral_distances._at_scale(pair, n_fft, None)[0]
        assert error == pytest.approx(np.mean(np.square(audio, dtype=np.float64)), rel=0.03)


def test_log_distances_equal_librosa():
    a, b = (magnitude(audio, 2048, 512, 2048) / energy(2048) for audio in (NOISE, OTHER))
    decibels = 20 * np.log10(np.maximum(a, 1e-4)) - 20 * np.log10(np.maximum(b, 1e-4))
    found = measured(NOISE, OTHER)
    assert found["log_spectral_distance_db"] == pytest.approx(np.sqrt((decibels**2).mean(axis=0)).mean(), rel=1e-3)
    scales = []
    for n_fft, num_mels in ((2048, 320), (1024, 160), (512, 80), (256, 40), (128, 20), (64, 10), (32, 5)):
        filters = librosa.filters.mel(sr=RATE, n_fft=n_fft, n_mels=num_mels)
        filters /= filters.sum(axis=1, keepdims=True)
        bands = [filters @ (magnitude(one, n_fft, n_fft // 4, n_fft) / energy(n_fft)) for one in (NOISE, OTHER)]
        scales.append(np.abs(np.diff(20 * np.log10(np.maximum(bands, 1e-4)), axis=0)).mean())
    assert found["multiscale_mel_db"] == pytest.approx(np.mean(scales), rel=1e-3)


@pytest.mark.parametrize("gain", [0.5, 0.1])
def test_a_gain_is_measured_in_decibels(gain):
    found = measured(NOISE, gain * NOISE)
    assert found["log_spectral_distance_db"] == pytest.approx(-20 * np.log10(gain), abs=1e-2)
    assert found["multiscale_mel_db"] == pytest.approx(-20 * np.log10(gain), abs=1e-2)


def test_several_are_measured_as_each_alone():
    others = np.stack([OTHER, 0.5 * NOISE, np.zeros_like(NOISE)])[:, :9001]
    together = spectral_distances.measure(NOISE[:9001], others, RATE)
    for index, other in enumerate(others):
        for name, value in measured(NOISE[:9001], other).items():
            assert together[name][index] == pytest.approx(value, rel=1e-5)


def test_what_no_ear_hears_makes_no_difference():
    """Noise below -80 dBFS, and its absence."""
    found = measured(1e-6 * NOISE, np.zeros_like(NOISE))
    assert found["log_spectral_distance_db"] == found["multiscale_mel_db"] == 0
