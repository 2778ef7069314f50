"""Distances between the magnitude spectra of a clip and of its reconstructions.

The clip is transformed once for all of its reconstructions and all measures, segment by segment, so that memory grows
with the clip's samples and not with its spectra.
"""

from collections.abc import Iterator

import numpy as np
import scipy.fft

from musicgen_jax.audio import mel, spectral_losses, stft

CONVERGENCE_N_FFT, CONVERGENCE_HOP, CONVERGENCE_WINDOW = 2048, 256, 1536
MULTISCALE_FFT_SIZES = (2048, 1024, 512, 256, 128, 64)
LOG_SPECTRAL_FFT_SIZE = 2048
FLOOR = np.float32(spectral_losses.FLOOR)  # magnitude below which all is silence: that of white noise at -80 dBFS
SEGMENT_SAMPLES = 2**14  # of which the caches hold the spectra
_DECIBELS = np.float32(20 / np.log(10))


def measure(reference: np.ndarray, others: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    """How far the spectra of N reconstructions lie from those of one clip. 0 is best for all.

    All spectra are centred STFTs with periodic Hann windows; but for the convergence, windows have the length of the
    FFT, hops a quarter of it, and magnitudes are divided by sqrt(sum window^2): by Parseval's theorem their mean square
    is then the signal's mean power at every FFT size. What is measured in dB has magnitudes below -80 dBFS raised to
    that, so that a gain which lifts nothing from below it is measured as the gain.

    Args:
      reference: float32 [S], finite.
      others: float32 [N, S], finite.
      sample_rate: Hz.

    Returns:
      Of each, float64 [N]:
        spectral_convergence: || |S| - |S^| ||_F / || |S| ||_F of magnitudes with 2048 bins, hop 256 and a window of
          1536 samples (Arik et al. 2018, "Fast spectrogram inversion"). Silence scores 1. The norm below is guarded:
          to a silent reference the ratio is finite and means nothing.
        multiscale_spectral_mse: squared difference of the linear magnitudes, averaged over frames and the bins of the
          two-sided spectrum, then over FFT sizes 2048, 1024, ..., 64, each with the same weight. In units of power:
          silence scores about the mean square of the reference.
        multiscale_mel_db: absolute difference of mel spectra in dB, averaged over frames and bands, then over the
          windows and bands of the Descript audio codec (Kumar et al. 2023), `spectral_losses.MEL_SCALES`, less those
          that have a band without a bin at this rate.
        log_spectral_distance_db: root mean square difference of the magnitudes in dB over the bins of a frame of 2048,
          averaged over frames (Gray and Markel 1976, "Distance measures for speech processing").
    """
    signals = np.concatenate([reference[None], others]).astype(np.float32, copy=False)
    found = {"spectral_convergence": _convergence(signals)}
    mels = dict(spectral_losses.mel_scales(sample_rate, max(len(reference), spectral_losses.MEL_SCALES[0][0])))
    errors, bands = [], []
    for n_fft in sorted({*MULTISCALE_FFT_SIZES, *mels}, reverse=True):
        filters = _filters(sample_rate, n_fft, mels[n_fft]) if n_fft in mels else None
        error, band, frame = _at_scale(signals, n_fft, filters)
        errors += [error] if n_fft in MULTISCALE_FFT_SIZES else []
        bands += [band] if filters is not None else []
        if n_fft == LOG_SPECTRAL_FFT_SIZE:
            found["log_spectral_distance_db"] = frame
    found |= {"multiscale_spectral_mse": np.mean(errors, axis=0), "multiscale_mel_db": np.mean(bands, axis=0)}
    return found


def _convergence(signals: np.ndarray) -> np.ndarray:
    difference, power = np.zeros(len(signals) - 1), 0.0
    for magnitudes in _segments(signals, CONVERGENCE_N_FFT, CONVERGENCE_HOP, CONVERGENCE_WINDOW):
        power += float(np.vdot(magnitudes[0], magnitudes[0]))
        difference += _squares(magnitudes).sum(axis=1)
    return np.sqrt(difference) / max(np.sqrt(power), 1e-8)


def _at_scale(signals: np.ndarray, n_fft: int, filters: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """(squared error of magnitudes, difference of mel bands in dB, log-spectral distance in dB), float64 [N] each; 0
    for what is not measured at this FFT size."""
    count = len(signals) - 1
    squares, bands, frames = np.zeros((3, count))
    # The mean over the two-sided spectrum, which holds every bin twice but the first and the last.
    bins = np.full(n_fft // 2 + 1, 2.0 / n_fft)
    bins[[0, -1]] = 1.0 / n_fft
    num_frames = 1 + signals.shape[1] // (n_fft // 4)
    for magnitudes in _segments(signals, n_fft, n_fft // 4, n_fft):
        squares += _squares(magnitudes) @ bins
        if filters is not None:
            # A product for each signal: in one of all frames the place of a row would decide how it is rounded.
            levels = _decibels(magnitudes @ filters)
            bands += np.abs(levels[1:] - levels[0]).sum(axis=1).mean(axis=1)
        if n_fft == LOG_SPECTRAL_FFT_SIZE:
            levels = _decibels(magnitudes)
            frames += np.sqrt(np.square(levels[1:] - levels[0]).mean(axis=2)).sum(axis=1)
    return squares / num_frames, bands / num_frames, frames / num_frames


def _squares(magnitudes: np.ndarray) -> np.ndarray:
    """Squared differences of [1 + N, T, F] from the first, summed over frames: float64 [N, F]."""
    difference = magnitudes[1:] - magnitudes[0]
    difference *= difference
    return difference.sum(axis=1).astype(np.float64)


def _decibels(magnitudes: np.ndarray) -> np.ndarray:
    return _DECIBELS * np.log(np.maximum(magnitudes, FLOOR))


def _filters(sample_rate: int, n_fft: int, num_mels: int) -> np.ndarray:
    """Mel filters float32 [F, M], each with a sum of 1: a flat spectrum has its own height in every band."""
    filters = mel.filterbank(sample_rate, n_fft, num_mels)
    return filters / filters.sum(axis=0)


def _segments(signals: np.ndarray, n_fft: int, hop_length: int, window_length: int) -> Iterator[np.ndarray]:
    """|STFT| of signals [N, S] with a window of unit energy, float32 [N, t, F], a stretch of frames after the other;
    T = 1 + S // hop_length in all."""
    window = stft.hann_window(window_length, n_fft)
    window /= np.sqrt(np.sum(window**2))
    padded = np.pad(signals, ((0, 0), (n_fft // 2, n_fft // 2)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=1)[:, ::hop_length]
    count = max(1, SEGMENT_SAMPLES // hop_length)
    for start in range(0, frames.shape[1], count):
        yield np.abs(scipy.fft.rfft(frames[:, start : start + count] * window, axis=-1))
