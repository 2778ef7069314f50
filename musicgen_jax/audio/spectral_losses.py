"""Distances between the spectra of waveforms: multi-resolution STFT magnitudes and multi-scale mel spectrograms.

Spectra are computed by one function and compared by another, so that a reference is transformed once however often it
is compared. Logarithms are of (magnitude + floor), the floor being the magnitude that white noise of `FLOOR` rms has on
average: two sounds that are both far below it are alike, and no gradient exceeds 1 / floor, at silence or elsewhere.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.audio import mel, stft
from musicgen_jax.runtime.errors import UserError

FLOOR = 1e-4  # of a waveform in [-1, 1]: -80 dB


class Resolution(NamedTuple):
    """Of an STFT, in samples."""

    n_fft: int
    hop_length: int
    window_length: int


# Jukebox's three resolutions, but with hops that divide the frame (it has 240, 120 and 50): frames are then slices
# instead of gathers, and the loss with its gradient runs two and a half times faster.
RESOLUTIONS = (Resolution(2048, 256, 1200), Resolution(1024, 128, 600), Resolution(512, 64, 240))
# (window, mel bands) of the Descript audio codec (Kumar et al. 2023); hops are a quarter of the window.
MEL_SCALES = ((2048, 320), (1024, 160), (512, 80), (256, 40), (128, 20), (64, 10), (32, 5))


def resolutions(num_samples: int) -> tuple[Resolution, ...]:
    """Those of `RESOLUTIONS` whose FFT is no longer than the waveform.

    Raises:
      UserError: none is.
    """
    fitting = tuple(resolution for resolution in RESOLUTIONS if resolution.n_fft <= num_samples)
    if not fitting:
        raise UserError(
            f"a waveform of {num_samples} samples is too short for a spectral loss: use clips of at least "
            f"{RESOLUTIONS[-1].n_fft}, or turn loss.spectral and loss.log_spectral off"
        )
    return fitting


def magnitudes(audio: jax.Array) -> list[jax.Array]:
    """|STFT| at each of `resolutions`: [B, S] -> float32 [B, T, n_fft // 2 + 1] each. Raises as `resolutions`."""
    return [stft.magnitude(audio, *resolution) for resolution in resolutions(audio.shape[-1])]


def linear_distance(targets: list[jax.Array], produced: list[jax.Array], powers: tuple) -> jax.Array:
    """Mean over resolutions of mean(| |X| - |Y| |^2) / power; scalar.

    Args:
      targets: magnitudes of the reference, from `magnitudes`.
      produced: magnitudes of the reconstruction.
      powers: mean |X|^2 of each resolution that the squared difference is divided by; 1 is then what silence scores.
    """
    terms = [jnp.mean((x - y) ** 2) / power for x, y, power in zip(targets, produced, powers, strict=True)]
    return sum(terms) / len(terms)


def log_distance(targets: list[jax.Array], produced: list[jax.Array], num_samples: int) -> jax.Array:
    """Mean over resolutions of mean |ln(|X| + floor) - ln(|Y| + floor)|; scalar.

    Args:
      targets: magnitudes of the reference, from `magnitudes`.
      produced: magnitudes of the reconstruction.
      num_samples: length of the waveforms.
    """
    found = resolutions(num_samples)
    terms = [
        jnp.mean(jnp.abs(jnp.log(x + floor(r)) - jnp.log(y + floor(r))))
        for x, y, r in zip(targets, produced, found, strict=True)
    ]
    return sum(terms) / len(terms)


def floor(resolution: Resolution) -> float:
    """Root mean square magnitude of white noise of rms `FLOOR`: FLOOR * sqrt(sum window^2)."""
    window = stft.hann_window(resolution.window_length, resolution.n_fft)
    return float(FLOOR * np.sqrt(np.sum(window.astype(np.float64) ** 2)))


def mel_scales(sample_rate: int, num_samples: int) -> list[tuple[int, int]]:
    """Those of `MEL_SCALES` whose window fits into the waveform and whose bands all contain an FFT bin.

    Raises:
      UserError: none does.
    """
    scales = [scale for scale in MEL_SCALES if scale[0] <= num_samples and _has_bins(sample_rate, *scale)]
    if not scales:
        raise UserError(
            f"no mel scale fits {num_samples} samples at {sample_rate} Hz: use longer clips, or turn loss.mel off"
        )
    return scales


def log_mels(audio: jax.Array, sample_rate: int) -> list[jax.Array]:
    """ln(mel + floor) at each of `mel_scales`: [B, S] -> float32 [B, T, M] each. Raises as `mel_scales`."""
    spectrograms = []
    for window_length, num_mels in mel_scales(sample_rate, audio.shape[-1]):
        resolution = Resolution(window_length, window_length // 4, window_length)
        filters = mel.filterbank(sample_rate, window_length, num_mels)
        bands = stft.magnitude(audio, *resolution) @ filters
        # A flat magnitude m gives m * (sum of a filter), about m / (Hz per bin): the filters have unit area over Hz.
        spectrograms.append(jnp.log(bands + floor(resolution) * window_length / sample_rate))
    return spectrograms


def mel_distance(targets: list[jax.Array], produced: list[jax.Array]) -> jax.Array:
    """Mean over scales of the mean absolute difference of `log_mels`; scalar."""
    terms = [jnp.mean(jnp.abs(x - y)) for x, y in zip(targets, produced, strict=True)]
    return sum(terms) / len(terms)


def _has_bins(sample_rate: int, n_fft: int, num_mels: int) -> bool:
    try:
        mel.filterbank(sample_rate, n_fft, num_mels)
    except ValueError:
        return False
    return True
