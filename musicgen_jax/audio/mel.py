"""Mel filterbank and log-mel spectrograms."""

import atexit
import functools
import importlib
import shutil
import tempfile
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.audio import stft
from musicgen_jax.runtime.errors import UserError


@functools.cache
def _librosa_filters() -> ModuleType:
    """`librosa.filters`, also where neither the user's home nor the package's folder can be written.

    Numba looks for a folder in which to cache librosa's compiled functions as soon as it sees them, and fails where it
    finds none, though none of them is called here.
    """
    try:
        return importlib.import_module("librosa.filters")
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
    import numba

    numba.config.CACHE_DIR = tempfile.mkdtemp(prefix="numba-")
    atexit.register(shutil.rmtree, numba.config.CACHE_DIR, ignore_errors=True)
    return importlib.import_module("librosa.filters")


def height(hz: float, top_hz: float) -> float:
    """Where a frequency lies on the mel axis from 0 Hz to `top_hz`: a number from 0 to 1."""
    edges = _librosa_filters().mel_frequencies(n_mels=257, fmin=0.0, fmax=top_hz)
    return float(np.interp(hz, edges, np.linspace(0, 1, len(edges))))


@functools.lru_cache(maxsize=32)
def filterbank(
    sample_rate: int, n_fft: int, num_mels: int, min_hz: float = 0.0, max_hz: float | None = None
) -> np.ndarray:
    """Triangular filters on the Slaney mel scale, each of unit area over frequency (librosa's default).

    Args:
      sample_rate: Hz.
      n_fft: FFT size of the magnitudes that the filters are applied to.
      num_mels: number of bands M.
      min_hz: lower edge of the lowest band.
      max_hz: upper edge of the highest band; None means sample_rate / 2.

    Returns:
      float32 [n_fft // 2 + 1, M], read-only because it is cached.

    Raises:
      UserError: the edges do not fit the sample rate, or a band is so narrow that it contains no FFT bin.
    """
    top_hz = sample_rate / 2 if max_hz is None else max_hz
    if not 0 <= min_hz < top_hz <= sample_rate / 2:
        raise UserError(
            f"mel bands from {min_hz} to {top_hz} Hz at a sample rate of {sample_rate} Hz: "
            "the edges must satisfy 0 <= min_hz < max_hz <= sample_rate / 2"
        )
    # Checked here because librosa only warns about an empty band.
    filters_of = _librosa_filters()
    edges = filters_of.mel_frequencies(n_mels=num_mels + 2, fmin=min_hz, fmax=top_hz)
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    for low, high in zip(edges[:-2], edges[2:], strict=True):
        if not np.any((bins > low) & (bins < high)):
            raise UserError(
                f"the mel band from {low:.1f} to {high:.1f} Hz contains no bin of a {n_fft}-point FFT at "
                f"{sample_rate} Hz: use fewer than {num_mels} bands or a larger FFT"
            )
    filters = filters_of.mel(sr=sample_rate, n_fft=n_fft, n_mels=num_mels, fmin=min_hz, fmax=top_hz)
    filters = np.ascontiguousarray(filters.T, dtype=np.float32)
    filters.setflags(write=False)
    return filters


def log_mel(
    audio: jax.Array,
    *,
    sample_rate: int,
    n_fft: int,
    hop_length: int,
    window_length: int,
    num_mels: int,
    min_hz: float = 0.0,
    max_hz: float | None = None,
    floor: float = 1e-5,
) -> jax.Array:
    """Log-mel spectrogram of a waveform: [..., S] float32 -> [..., T, M] float32, T = 1 + S // hop_length.

    Natural log(max(|STFT| @ filterbank, floor)): linear magnitudes, not power. Where a band lies below the floor its
    gradient is zero, so silence is safe to differentiate.

    Raises:
      UserError: see `filterbank`.
    """
    magnitude = stft.magnitude(audio, n_fft, hop_length, window_length)
    return jnp.log(jnp.maximum(magnitude @ filterbank(sample_rate, n_fft, num_mels, min_hz, max_hz), floor))
