"""The fundamental frequency of a recording, frame by frame, by YIN (de Cheveigné and Kawahara 2002).

In music of several voices it is that of the strongest, where one stands out; the confidence says whether one does.
"""

from typing import NamedTuple

import numpy as np
import scipy.fft
import soxr

SAMPLE_RATE = 16_000  # Hz, at which all is analysed
HOP_SECONDS = 0.02
MIN_HZ, MAX_HZ = 60.0, 1000.0
WINDOW = 1024  # samples that are compared with those a lag later
THRESHOLD = 0.1  # of the normalised difference: the first dip below it is the period (the paper's step 4)
VOICED = 0.85  # confidence from which a frame has a pitch
SILENCE = 1e-4  # root mean square of a frame, below which nothing is looked for
BLOCK_FRAMES = 64  # which the caches hold
_MIN_LAG, _MAX_LAG = int(SAMPLE_RATE / MAX_HZ), int(np.ceil(SAMPLE_RATE / MIN_HZ))


class Pitch(NamedTuple):
    """Of T frames, HOP_SECONDS apart.

    Attributes:
      midi: fundamental frequency in semitones, 69 for 440 Hz, float64 [T]; where there is no confidence in it, a guess.
      confidence: 1 for a periodic frame, 0 for noise and silence, float64 [T].
    """

    midi: np.ndarray
    confidence: np.ndarray

    @property
    def voiced(self) -> np.ndarray:
        """Bool [T]: frames with a pitch."""
        return self.confidence >= VOICED


def track(audio: np.ndarray, sample_rate: int) -> Pitch:
    """The fundamental frequency, between MIN_HZ and MAX_HZ.

    Args:
      audio: float [S], finite.
      sample_rate: Hz.
    """
    audio = np.asarray(audio, np.float32)
    if sample_rate != SAMPLE_RATE:
        audio = soxr.resample(audio, sample_rate, SAMPLE_RATE, quality="HQ")
    length, hop = WINDOW + _MAX_LAG + 1, round(HOP_SECONDS * SAMPLE_RATE)
    padded = np.pad(audio, (length // 2, length))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[: len(audio) : hop]
    found = [_of_frames(frames[start : start + BLOCK_FRAMES]) for start in range(0, len(frames), BLOCK_FRAMES)]
    lags, dips, levels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    confidence = np.where(levels > SILENCE, np.clip(1 - dips, 0, 1), 0.0)
    return Pitch(69 + 12 * np.log2(SAMPLE_RATE / lags / 440), confidence)


def _of_frames(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(period in samples, normalised difference there, root mean square) of frames [T, L], float64 [T] each."""
    difference = _difference(frames)
    lags = np.arange(difference.shape[1])
    sums = np.cumsum(difference, axis=1)
    normalised = np.ones_like(difference)
    np.divide(difference * lags, sums, out=normalised, where=sums > 1e-9)
    inner = normalised[:, _MIN_LAG:-1]
    dip = (inner < THRESHOLD) & (inner <= normalised[:, _MIN_LAG + 1 :]) & (inner <= normalised[:, _MIN_LAG - 1 : -2])
    chosen = _MIN_LAG + np.where(dip.any(axis=1), dip.argmax(axis=1), inner.argmin(axis=1))
    rows = np.arange(len(frames))
    before, here, after = (difference[rows, chosen + step] for step in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=bend > 0)
    level = np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1))
    return chosen + np.clip(shift, -1, 1), normalised[rows, chosen], level


def _difference(frames: np.ndarray) -> np.ndarray:
    """Sum of (x[j] - x[j + lag])^2 over WINDOW samples, float64 [T, _MAX_LAG + 2], by FFTs (equation 7)."""
    size = scipy.fft.next_fast_len(frames.shape[1], real=True)
    frames = frames.astype(np.float64)
    spectra = scipy.fft.rfft(frames, size, axis=1)
    head = scipy.fft.rfft(frames[:, :WINDOW], size, axis=1)
    products = scipy.fft.irfft(spectra * np.conj(head), size, axis=1)[:, : _MAX_LAG + 2]
    energy = np.pad(np.cumsum(frames**2, axis=1), ((0, 0), (1, 0)))
    energies = energy[:, WINDOW:] - energy[:, : energy.shape[1] - WINDOW]
    return np.maximum(energies[:, :1] + energies[:, : _MAX_LAG + 2] - 2 * products, 0)
