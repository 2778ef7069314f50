import json

import librosa
import numpy as np
import pytest

from musicgen_jax.evaluation import reconstruction

RNG = np.random.default_rng(0)
# Longer than one segment of the STFT at every FFT size, and a multiple of no hop.
NOISE = RNG.standard_normal(140_003).astype(np.float32) * 0.1
OTHER = RNG.standard_normal(140_003).astype(np.float32) * 0.1


def _librosa_magnitude(audio, n_fft, hop_length, window_length):
    return np.abs(
        librosa.stft(
            audio.astype(np.float64), n_fft=n_fft, hop_length=hop_length, win_length=window_length, pad_mode="constant"
        )
    )


@pytest.mark.parametrize("num_samples", [1, 300, 5000, 140_003])
def test_spectral_convergence_equals_librosa(num_samples):
    reference, other = (_librosa_magnitude(audio[:num_samples], 2048, 256, 1536) for audio in (NOISE, OTHER))
    expected = np.linalg.norm(reference - other) / np.linalg.norm(reference)
    ours = reconstruction.spectral_convergence(NOISE[:num_samples], OTHER[:num_samples])
    assert ours == pytest.approx(expected, rel=1e-4)


def test_spectral_convergence_of_silence_scaling_and_identity():
    assert reconstruction.spectral_convergence(NOISE, np.zeros_like(NOISE)) == pytest.approx(1.0, rel=1e-6)
    assert reconstruction.spectral_convergence(NOISE, 0.9 * NOISE) == pytest.approx(0.1, rel=1e-4)
    assert reconstruction.spectral_convergence(NOISE, NOISE) == 0.0
    assert reconstruction.spectral_convergence(np.zeros(100), np.zeros(100)) == 0.0
    assert np.isfinite(reconstruction.spectral_convergence(np.zeros(100), NOISE[:100]))


def test_multiscale_spectral_mse_equals_librosa():
    errors = []
    for n_fft in (2048, 1024, 512, 256, 128, 64):
        scale = np.sqrt(np.sum(librosa.filters.get_window("hann", n_fft) ** 2))
        a, b = (_librosa_magnitude(audio, n_fft, n_fft // 4, n_fft) / scale for audio in (NOISE, OTHER))
        squared = (a - b) ** 2
        two_sided = np.concatenate([squared, squared[1:-1]])
        errors.append(two_sided.mean())
    assert reconstruction.multiscale_spectral_mse(NOISE, OTHER) == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.parametrize("kind", ["noise", "tone", "constant"])
@pytest.mark.parametrize("n_fft", reconstruction.MULTISCALE_FFT_SIZES)
def test_error_of_a_silent_reconstruction_is_the_power_at_every_fft_size(monkeypatch, kind, n_fft):
    time = np.arange(len(NOISE))
    audio = {"noise": NOISE, "tone": np.sin(0.3 * time), "constant": np.full(len(NOISE), 0.5)}[kind]
    monkeypatch.setattr(reconstruction, "MULTISCALE_FFT_SIZES", (n_fft,))
    error = reconstruction.multiscale_spectral_mse(audio, np.zeros_like(audio))
    assert error == pytest.approx(np.mean(np.square(audio, dtype=np.float64)), rel=0.03)


def test_si_sdr_of_known_mixtures():
    source = np.sin(np.arange(8000) * 2 * np.pi / 100)
    noise = np.cos(np.arange(8000) * 2 * np.pi / 100)
    assert reconstruction.si_sdr_db(source, source + 0.1 * noise) == pytest.approx(20.0, abs=1e-6)
    # Neither scale nor offset counts.
    assert reconstruction.si_sdr_db(source + 3, 0.2 * (source + 0.1 * noise) - 1) == pytest.approx(20.0, abs=1e-6)
    assert reconstruction.si_sdr_db(source, 2 * source) == pytest.approx(120.0)
    assert reconstruction.si_sdr_db(source, noise) < -100
    assert reconstruction.si_sdr_db(source, np.zeros(8000)) == -120.0
    assert reconstruction.si_sdr_db(np.zeros(8000), source) == -120.0


def test_accumulator_takes_the_mean_ratio_before_decibels_and_counts_silence():
    accumulator = reconstruction.ReconstructionAccumulator()
    accumulator.add(NOISE[:3000], 0.9 * NOISE[:3000])
    accumulator.add(NOISE[:7001], 0.5 * NOISE[:7001])
    quiet = accumulator.result()
    assert quiet["spectral_convergence_db"] == pytest.approx(20 * np.log10((0.1 + 0.5) / 2), abs=1e-3)
    assert quiet["si_sdr_db"] == pytest.approx(120.0)
    accumulator.add(np.zeros(5000), NOISE[:5000])
    result = accumulator.result()
    assert (result["num_clips"], result["num_silent_clips"]) == (3, 1)
    assert result["spectral_convergence_db"] == quiet["spectral_convergence_db"]
    # Sound made out of silence is not forgotten: it counts in the squared error.
    assert result["multiscale_spectral_mse"] > 2 * quiet["multiscale_spectral_mse"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_perfect_reconstruction_stays_finite():
    accumulator = reconstruction.ReconstructionAccumulator()
    accumulator.add(NOISE[:3000], NOISE[:3000])
    assert accumulator.result() == {
        "spectral_convergence_db": pytest.approx(-120.0),
        "multiscale_spectral_mse": 0.0,
        "si_sdr_db": 120.0,
        "num_clips": 1,
        "num_silent_clips": 0,
    }


def test_of_nothing_but_silence_there_are_no_ratios():
    accumulator = reconstruction.ReconstructionAccumulator()
    for _ in range(2):
        accumulator.add(np.zeros(100), np.full(100, 0.1))
    result = accumulator.result()
    assert result.keys() == {"multiscale_spectral_mse", "num_clips", "num_silent_clips"}
    assert result["multiscale_spectral_mse"] > 0 and (result["num_clips"], result["num_silent_clips"]) == (2, 2)


def test_no_clip_is_an_error():
    accumulator = reconstruction.ReconstructionAccumulator()
    with pytest.raises(ValueError, match="no clip was added"):
        accumulator.result()


@pytest.mark.parametrize(
    ("reference", "other", "message"),
    [
        (np.zeros(10), np.zeros(11), "same length"),
        (np.zeros((2, 10)), np.zeros((2, 10)), "mono"),
        (np.zeros(0), np.zeros(0), "same length"),
        (np.zeros(10), np.array([0.0] * 9 + [np.nan]), "reconstruction has 1 samples that are not finite"),
    ],
)
def test_clips_that_cannot_be_compared_are_refused(reference, other, message):
    with pytest.raises(ValueError, match=message):
        reconstruction.ReconstructionAccumulator().add(reference, other)
