"""An acoustic fingerprint: the set of 28-bit words that a recording is made of, sketched to a kilobyte.

Words are those of Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): of each frame of
0.36 s, 69 times a second, a bit for each two neighbouring bands between 300 and 2000 Hz, whether the difference of
their energies has grown since the last frame. They survive lossy coding, resampling, gain and trimming, though not all
of them: two versions of a recording share some tenths of their words, other recordings next to none. Where they differ
from the paper: bits are 28 in place of 32, of which more survive; and sets of words are compared by their sketches
(`near_duplicates`) in place of blocks of frames by their bit errors, so that no search in a database is needed. What
plays faster or in another key is another recording; so is an excerpt of less than about a tenth.
"""

import functools

import numpy as np
import scipy.fft
import soxr

from musicgen_jax.data import near_duplicates

SAMPLE_RATE = 4400  # Hz
FRAME, HOP = 1600, 64  # samples
NUM_BITS = 28
LOWEST, HIGHEST = 300.0, 2000.0  # Hz
FRAMES_AT_ONCE = 256
MIN_POWER = 1e-8  # of a frame's mean square in its bands: below -80 dB noise alone decides on the bits
MIN_AGREEMENT = 8 / near_duplicates.NUM_HASHES  # of the sketches of one recording; see benchmarks/fingerprints.py


class Fingerprint:
    """Takes in a recording block by block, in bounded memory but for its words: about 14 kB a minute."""

    def __init__(self, sample_rate: int) -> None:
        """Args:
        sample_rate: Hz of the blocks.
        """
        self._stream = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="LQ")
        self._waiting: list[np.ndarray] = []
        self._last = np.zeros((0, NUM_BITS), np.float32)  # the differences of the last frame
        self._words: list[np.ndarray] = []

    def add(self, mono: np.ndarray) -> None:
        """Takes in the next samples, float32 [S]."""
        self._waiting.append(self._stream.resample_chunk(mono))
        if sum(map(len, self._waiting)) >= FRAME + HOP * FRAMES_AT_ONCE:
            self._use(np.concatenate(self._waiting))

    def sketch(self) -> np.ndarray | None:
        """uint32 [near_duplicates.NUM_HASHES], when all samples are in; None of what is too short, silent or steady."""
        self._waiting.append(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
        self._use(np.concatenate(self._waiting))
        words = np.concatenate([np.zeros(0, np.uint32), *self._words])
        return near_duplicates.sketch(words.astype(np.uint64))

    def _use(self, samples: np.ndarray) -> None:
        """Makes words of all whole frames; what is left waits."""
        count = max(0, (len(samples) - FRAME) // HOP + 1)
        self._waiting = [samples[count * HOP :]]
        for start in range(0, count, FRAMES_AT_ONCE):
            some = samples[start * HOP : (min(count, start + FRAMES_AT_ONCE) - 1) * HOP + FRAME]
            self._add_words(_band_energies(np.lib.stride_tricks.sliding_window_view(some, FRAME)[::HOP]))

    def _add_words(self, energies: np.ndarray) -> None:
        """Of the next frames, float32 [F, NUM_BITS + 1]."""
        differences = np.concatenate([self._last, energies[:, :-1] - energies[:, 1:]])
        bits = np.diff(differences, axis=0) > 0
        audible = energies.mean(axis=1)[-len(bits) :] > MIN_POWER if len(bits) else np.zeros(0, bool)
        words = bits @ (np.uint32(1) << np.arange(NUM_BITS, dtype=np.uint32))
        self._words.append(np.unique(words[audible & (words > 0)]).astype(np.uint32))
        self._last = differences[-1:]


def _band_energies(frames: np.ndarray) -> np.ndarray:
    """Mean squares of frames [F, FRAME] in each band, float32 [F, NUM_BITS + 1]."""
    window, edges = _window_and_edges()
    spectrum = scipy.fft.rfft(frames * window, axis=1)[:, : edges[-1]]
    power = spectrum.real**2 + spectrum.imag**2
    return np.add.reduceat(power, edges[:-1], axis=1)


@functools.cache
def _window_and_edges() -> tuple[np.ndarray, np.ndarray]:
    """The window, scaled so that a sine's power is its mean square, and the first bin of each band, and of none."""
    window = np.hanning(FRAME)
    edges = np.round(np.geomspace(LOWEST, HIGHEST, NUM_BITS + 2) * FRAME / SAMPLE_RATE).astype(int)
    return (window * np.sqrt(2) / window.sum()).astype(np.float32), edges


def alike(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    """Whether two sketches are of one recording."""
    known = first is not None and second is not None
    return known and near_duplicates.agreement(first, second) >= MIN_AGREEMENT
