"""Pictures of sounds: log-mel spectrograms in colours."""

import matplotlib
import numpy as np

from musicgen_jax.audio import mel

N_FFT, NUM_MELS, MAX_COLUMNS = 2048, 96, 640
RANGE_DB = 80.0
FLOOR = 1e-5  # of a mel magnitude: what is quieter counts as silence


def of_audio(audio: np.ndarray, sample_rate: int, peak: float | None = None) -> np.ndarray:
    """The spectrogram of a sound, uint8 [rows, columns, 3], high pitches at the top.

    One row a mel band; brightest at the peak, 80 dB below it black. The hop grows with the sound, so that there are
    never more than MAX_COLUMNS columns.

    Args:
      audio: float [S], mono.
      sample_rate: Hz.
      peak: mel magnitude that is drawn brightest, so that several pictures can share one scale; None: the sound's own.
    """
    decibels = 20 / np.log(10) * _log_mel(audio, sample_rate)
    # A silent sound has no peak of its own; the floor of the log-mel then is the reference and the picture stays dark.
    top = decibels.max() if peak is None else 20 * np.log10(max(peak, FLOOR))
    if decibels.max() <= 20 * np.log10(FLOOR) + 1:
        top = 0.0
    return coloured(np.clip((decibels - top) / RANGE_DB + 1, 0, 1).T)


def peak_magnitude(audio: np.ndarray, sample_rate: int) -> float:
    """The largest mel magnitude of a sound, for the shared scale of several pictures."""
    return float(np.exp(_log_mel(audio, sample_rate).max()))


def coloured(image: np.ndarray) -> np.ndarray:
    """[rows, columns] from the bottom up, 0 is black and 1 is brightest -> uint8 [rows, columns, 3] from the top."""
    return matplotlib.colormaps["magma"](np.flipud(image), bytes=True)[..., :3]


def _log_mel(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Log-mel [T, M]."""
    return np.asarray(
        mel.log_mel(
            np.asarray(audio, np.float32),
            sample_rate=sample_rate,
            n_fft=N_FFT,
            hop_length=max(256, -(-len(audio) // MAX_COLUMNS)),
            window_length=N_FFT,
            num_mels=NUM_MELS,
        )
    )
