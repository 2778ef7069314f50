"""How close a reconstructed waveform is to its reference.

Clips may be of any length: they go through the STFT in segments of a fixed shape, so that memory is bounded and each
FFT size is compiled once.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.audio import stft
from musicgen_jax.runtime.errors import UserError

CONVERGENCE_N_FFT, CONVERGENCE_HOP, CONVERGENCE_WINDOW = 2048, 256, 1536
MULTISCALE_FFT_SIZES = (2048, 1024, 512, 256, 128, 64)
# Ratios beyond +-120 dB say nothing: float32 spectra do not resolve them, and JSON knows no infinity.
LIMIT_DB = 120.0
# -100 dBFS RMS, below one step of 16 bits: such a reference is silence, and a ratio to it means nothing.
SILENCE_RMS = 1e-5
SEGMENT_SAMPLES = 2**17


def spectral_convergence(reference: np.ndarray, reconstruction: np.ndarray) -> float:
    """Relative error of the STFT magnitudes of one clip: || |S| - |S^| ||_F / || |S| ||_F. Lower is better, 0 is best.

    Magnitudes of a centred STFT with 2048 bins, hop 256 and a Hann window of 1536 samples (Arik et al. 2018, "Fast
    spectrogram inversion"). A silent reconstruction gives 1. The reference norm is guarded: for a silent reference
    the value is finite (0 where the reconstruction is silent too) but means nothing.

    Args:
      reference: float [S].
      reconstruction: float [S], of the same length.

    Raises:
      UserError: the shapes differ, are not [S] with S > 0, or a sample is not finite.
    """
    _check_pair(reference, reconstruction)
    difference, norm = 0.0, 0.0
    bins = np.ones(CONVERGENCE_N_FFT // 2 + 1, np.float32)
    for segment_difference, segment_norm in _segments(
        reference, reconstruction, bins, CONVERGENCE_HOP, CONVERGENCE_WINDOW
    ):
        difference += segment_difference
        norm += segment_norm
    return float(np.sqrt(difference) / max(np.sqrt(norm), 1e-8))


def multiscale_spectral_mse(reference: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean squared difference of STFT magnitudes over six FFT sizes, in units of waveform power. Lower is better.

    For each N in 2048, 1024, ..., 64: a centred STFT with a periodic Hann window w of N samples and hop N / 4, divided
    by sqrt(sum w^2); the squared difference of the *linear* magnitudes is averaged over all frames and over the N bins
    of the two-sided spectrum. The value is the plain mean over the six sizes, each with the same weight.

    With this window normalisation Parseval's theorem makes the mean squared magnitude of a signal its mean power (as
    seen through the window) at every N, so no FFT size dominates, and a silent reconstruction scores about the mean
    square of the reference.

    Args:
      reference: float [S].
      reconstruction: float [S], of the same length.

    Raises:
      UserError: the shapes differ, are not [S] with S > 0, or a sample is not finite.
    """
    _check_pair(reference, reconstruction)
    errors = []
    for n_fft in MULTISCALE_FFT_SIZES:
        hop_length = n_fft // 4
        # The mean over the two-sided spectrum, which holds every bin twice but the first and the last.
        bins = np.full(n_fft // 2 + 1, 2.0 / n_fft, np.float32)
        bins[[0, -1]] = 1.0 / n_fft
        total = sum(difference for difference, _ in _segments(reference, reconstruction, bins, hop_length, n_fft))
        errors.append(total / (1 + len(reference) // hop_length))
    return float(np.mean(errors))


def si_sdr_db(reference: np.ndarray, reconstruction: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, after both means are removed. Higher is better.

    10 log10(|a s|^2 / |a s - s^|^2) with a = <s^, s> / |s|^2 (Le Roux et al. 2019, "SDR - half-baked or well done?",
    eq. 2-3), limited to +-120 dB. A silent or orthogonal reconstruction gives -120, a rescaled copy +120. It compares
    waveforms sample by sample, so a shift or a change of phase costs much even where the ear hears none.

    Args:
      reference: float [S].
      reconstruction: float [S], of the same length.

    Raises:
      UserError: the shapes differ, are not [S] with S > 0, or a sample is not finite.
    """
    _check_pair(reference, reconstruction)
    source = np.asarray(reference, np.float64) - np.mean(reference, dtype=np.float64)
    estimate = np.asarray(reconstruction, np.float64) - np.mean(reconstruction, dtype=np.float64)
    energy = source @ source
    target = (estimate @ source / energy) * source if energy > 0 else np.zeros_like(source)
    error = target - estimate
    signal, distortion = target @ target, error @ error
    if signal == 0:
        return -LIMIT_DB
    if distortion == 0:
        return LIMIT_DB
    return float(np.clip(10 * np.log10(signal / distortion), -LIMIT_DB, LIMIT_DB))


class ReconstructionAccumulator:
    """Collects the three measures over the clips of a split; every clip counts once, whatever its length."""

    def __init__(self) -> None:
        self._ratios: list[float] = []
        self._errors: list[float] = []
        self._si_sdr: list[float] = []

    def add(self, reference: np.ndarray, reconstruction: np.ndarray) -> None:
        """Adds one clip: float [S] and float [S].

        Raises:
          UserError: the shapes differ, are not [S] with S > 0, or a sample is not finite.
        """
        self._errors.append(multiscale_spectral_mse(reference, reconstruction))
        if np.std(reference, dtype=np.float64) >= SILENCE_RMS:
            self._ratios.append(spectral_convergence(reference, reconstruction))
            self._si_sdr.append(si_sdr_db(reference, reconstruction))

    def result(self) -> dict[str, float | int]:
        """The measures over all clips added so far.

        Returns:
          spectral_convergence_db: 20 log10 of the *mean ratio* over clips (not the mean of the clips' decibels),
            at least -120.
          multiscale_spectral_mse: mean over clips.
          si_sdr_db: mean over clips of decibels.
          num_clips: how many clips were added.
          num_silent_clips: how many of them have a silent reference (below -100 dBFS RMS). Ratios to silence mean
            nothing, so these clips count in multiscale_spectral_mse only. Where all are silent the others are absent.

        Raises:
          UserError: no clip was added.
        """
        if not self._errors:
            raise UserError("no clip was added: reconstruction needs at least one")
        result = {
            "multiscale_spectral_mse": float(np.mean(self._errors)),
            "num_clips": len(self._errors),
            "num_silent_clips": len(self._errors) - len(self._ratios),
        }
        if self._ratios:
            ratio = max(float(np.mean(self._ratios)), 10 ** (-LIMIT_DB / 20))
            result["spectral_convergence_db"] = 20 * float(np.log10(ratio))
            result["si_sdr_db"] = float(np.mean(self._si_sdr))
        return result


def _check_pair(reference: np.ndarray, reconstruction: np.ndarray) -> None:
    shapes = np.shape(reference), np.shape(reconstruction)
    if shapes[0] != shapes[1] or len(shapes[0]) != 1 or shapes[0][0] == 0:
        raise UserError(
            f"reference of shape {shapes[0]} and reconstruction of shape {shapes[1]}: both must be one mono waveform "
            "[S] of the same length; cut or pad the reconstruction to its reference"
        )
    for name, audio in (("reference", reference), ("reconstruction", reconstruction)):
        bad = int(np.size(audio) - np.count_nonzero(np.isfinite(audio)))
        if bad:
            raise UserError(f"the {name} has {bad} samples that are not finite: nothing can be measured on them")


def _segments(
    reference: np.ndarray, reconstruction: np.ndarray, bins: np.ndarray, hop_length: int, window_length: int
) -> Iterator[tuple[float, float]]:
    """Yields (squared difference, squared reference) of magnitudes, weighted by bin and summed over a segment."""
    n_fft = 2 * (len(bins) - 1)
    num_frames = 1 + len(reference) // hop_length
    segment_frames = SEGMENT_SAMPLES // hop_length
    num_segments = -(-num_frames // segment_frames)
    pair = np.zeros((2, (num_segments * segment_frames - 1) * hop_length + n_fft), np.float32)
    pair[0, n_fft // 2 : n_fft // 2 + len(reference)] = reference
    pair[1, n_fft // 2 : n_fft // 2 + len(reference)] = reconstruction
    for segment in range(num_segments):
        start = segment * segment_frames * hop_length
        valid = min(num_frames - segment * segment_frames, segment_frames)
        samples = pair[:, start : start + (segment_frames - 1) * hop_length + n_fft]
        difference, norm = np.asarray(_segment_energies(samples, valid, bins, hop_length, window_length), np.float64)
        yield float(difference), float(norm)


@functools.partial(jax.jit, static_argnames=("hop_length", "window_length"))
def _segment_energies(pair: jax.Array, valid: int, bins: jax.Array, hop_length: int, window_length: int) -> jax.Array:
    """[2, S] and bin weights [n_fft // 2 + 1] -> [2], over the first `valid` frames, with a window of unit energy."""
    n_fft = 2 * (bins.shape[0] - 1)
    window = stft.hann_window(window_length, n_fft)
    window = window / np.sqrt(np.sum(window**2))
    magnitude = jnp.abs(jnp.fft.rfft(stft.frame(pair, n_fft, hop_length) * window, axis=-1))
    weights = (jnp.arange(magnitude.shape[1]) < valid)[:, None] * bins
    difference = jnp.sum(weights * jnp.square(magnitude[0] - magnitude[1]))
    return jnp.stack([difference, jnp.sum(weights * jnp.square(magnitude[0]))])
