"""Spectral distances against plain NumPy; finite and bounded gradients at silence."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from musicgen_jax.audio import spectral_losses


def numpy_magnitudes(audio: np.ndarray, n_fft: int, hop_length: int, window_length: int) -> np.ndarray:
    """|STFT| of float64 [B, S], centred, Hann: [B, T, F]."""
    window = np.zeros(n_fft)
    left = (n_fft - window_length) // 2
    window[left : left + window_length] = np.hanning(window_length + 1)[:-1]
    padded = np.pad(audio, ((0, 0), (n_fft // 2, n_fft // 2)))
    starts = range(0, padded.shape[1] - n_fft + 1, hop_length)
    return np.stack([np.abs(np.fft.rfft(padded[:, s : s + n_fft] * window)) for s in starts], axis=1)


@pytest.fixture(scope="module")
def noise() -> tuple[np.ndarray, np.ndarray]:
    """Two sounds that differ in level and spectrum, float64 [2, 1500]: 2048-point windows do not fit."""
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((2, 1500)) * [[0.3], [1e-4]]
    return audio, 0.5 * np.cumsum(audio, axis=1)


def test_magnitudes_at_the_resolutions_that_fit(noise):
    assert spectral_losses.resolutions(2048) == spectral_losses.RESOLUTIONS
    assert spectral_losses.resolutions(1500) == spectral_losses.RESOLUTIONS[1:]
    for got, resolution in zip(
        spectral_losses.magnitudes(jnp.float32(noise[0])), spectral_losses.RESOLUTIONS[1:], strict=True
    ):
        want = numpy_magnitudes(noise[0], *resolution)
        np.testing.assert_allclose(got, want, atol=1e-5 * want.max())
    with pytest.raises(ValueError, match="511 samples is too short for a spectral loss: use clips of at least 512"):
        spectral_losses.magnitudes(jnp.zeros((1, 511)))


def test_linear_and_log_distance_equal_numpy(noise):
    targets, produced = (spectral_losses.magnitudes(jnp.float32(x)) for x in noise)
    linear, log, powers = [], [], []
    for n_fft, hop_length, window_length in spectral_losses.RESOLUTIONS[1:]:
        x, y = (numpy_magnitudes(audio, n_fft, hop_length, window_length) for audio in noise)
        powers.append((x**2).mean())
        linear.append(((x - y) ** 2).mean() / powers[-1])
        floor = 1e-4 * np.sqrt((np.hanning(window_length + 1)[:-1] ** 2).sum())
        log.append(np.abs(np.log(x + floor) - np.log(y + floor)).mean())
    got = spectral_losses.linear_distance(targets, produced, tuple(powers))
    np.testing.assert_allclose(got, np.mean(linear), rtol=1e-4)
    np.testing.assert_allclose(spectral_losses.log_distance(targets, produced, 1500), np.mean(log), rtol=1e-4)


def test_the_floor_is_the_magnitude_of_white_noise_at_80_db_below_full_scale():
    audio = 1e-4 * np.random.default_rng(0).standard_normal((1, 40_000))
    for magnitude, resolution in zip(
        spectral_losses.magnitudes(jnp.float32(audio)), spectral_losses.RESOLUTIONS, strict=True
    ):
        inner = np.asarray(magnitude)[:, 8:-8, 1:-1]
        assert np.sqrt((inner**2).mean()) == pytest.approx(spectral_losses.floor(resolution), rel=0.02)


@pytest.mark.long
@pytest.mark.parametrize("sample_rate", [4000, 44100])
def test_mel_distance_equals_librosa(sample_rate):
    rng = np.random.default_rng(1)
    audio, other = 0.1 * rng.standard_normal((2, 2, 2048))
    want = []
    for window, num_mels in ((2048, 320), (1024, 160), (512, 80), (256, 40), (128, 20), (64, 10), (32, 5)):
        filters = librosa.filters.mel(sr=sample_rate, n_fft=window, n_mels=num_mels)
        floor = 1e-4 * np.sqrt((np.hanning(window + 1)[:-1] ** 2).sum()) * window / sample_rate
        x, y = (
            np.log(numpy_magnitudes(sound, window, window // 4, window) @ filters.T + floor) for sound in (audio, other)
        )
        want.append(np.abs(x - y).mean())
    targets, produced = (spectral_losses.log_mels(jnp.float32(x), sample_rate) for x in (audio, other))
    np.testing.assert_allclose(spectral_losses.mel_distance(targets, produced), np.mean(want), rtol=1e-4)


def test_mel_scales_that_have_no_bins_or_no_room_are_left_out():
    whole = list(spectral_losses.MEL_SCALES)
    for sample_rate in (4000, 16000, 44100):
        assert spectral_losses.mel_scales(sample_rate, 4096) == whole
    assert spectral_losses.mel_scales(48000, 4096) == whole[:5]  # 10 bands of a 64-point FFT: one holds no bin
    assert spectral_losses.mel_scales(48000, 1000) == whole[2:5]
    with pytest.raises(ValueError, match="no mel scale fits 100 samples at 48000 Hz"):
        spectral_losses.mel_scales(48000, 100)


def distances(audio: jax.Array, other: jax.Array) -> jax.Array:
    """The three distances of two waveforms, [3]."""
    targets, produced = spectral_losses.magnitudes(audio), spectral_losses.magnitudes(other)
    mels = spectral_losses.log_mels(audio, 16000), spectral_losses.log_mels(other, 16000)
    return jnp.stack(
        [
            spectral_losses.linear_distance(targets, produced, (1.0,) * len(targets)),
            spectral_losses.log_distance(targets, produced, audio.shape[-1]),
            spectral_losses.mel_distance(*mels),
        ]
    )


@pytest.mark.long
def test_finite_at_silence_and_bounded_near_it():
    rng = np.random.default_rng(2)
    sound, silence = np.float32(0.1 * rng.standard_normal((1, 2048))), np.zeros((1, 2048), np.float32)
    gradient = jax.jit(jax.jacobian(distances, argnums=1))
    value = jax.jit(distances)
    for audio, other in ((silence, silence), (sound, silence), (silence, sound), (sound, sound)):
        assert np.isfinite(value(audio, other)).all() and np.isfinite(gradient(audio, other)).all()
    assert not np.any(value(silence, silence)) and not np.any(value(sound, sound))
    # Around silence a logarithm without a floor has gradients that grow as the sound fades; with one they don't.
    steps = [np.abs(gradient(sound, level * sound[:, ::-1])[1:]).max() for level in (1e-5, 1e-7, 1e-9)]
    assert max(steps) < 2 * min(steps)
    # Rounding noise of 16 bits instead of silence is no difference to speak of.
    dither = np.float32(rng.uniform(-0.5, 0.5, (1, 2048)) / 32768)
    assert (np.asarray(value(silence, dither))[1:] < 0.15).all() and (np.asarray(value(silence, sound))[1:] > 3).all()
