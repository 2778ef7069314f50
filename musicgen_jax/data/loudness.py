"""Loudness as ITU-R BS.1770-4 measures it, of a mono or stereo recording of any length, block by block.

The K-weighting filters are pyloudnorm's (Steinmetz and Reiss, 2021); its own meter takes a whole recording at once.
"""

import numpy as np
import scipy.signal

OFFSET = -0.691  # dB: the standard's, so that a 997 Hz sine at full scale in one channel has -3.01 LUFS
CELL_SECONDS = 0.1
CELLS = 4  # of a block of 0.4 s; blocks begin every cell
ABSOLUTE_GATE = -70.0  # LUFS: blocks below it do not count
RELATIVE_GATE = -10.0  # LU below the mean of those that do
MIN_SAMPLE_RATE = 8000  # Hz: below, the filters have no room


class Loudness:
    """Takes in a recording block by block; memory is eight bytes for each tenth of a second."""

    def __init__(self, sample_rate: int, channels: int = 1) -> None:
        """Args:
        sample_rate: Hz, at least MIN_SAMPLE_RATE.
        channels: 1 or 2, whose powers are added.
        """
        import pyloudnorm  # here: who measures nothing does not wait for it

        shelf = pyloudnorm.IIRfilter(4.0, 1 / np.sqrt(2), 1500.0, sample_rate, "high_shelf")
        high_pass = pyloudnorm.IIRfilter(0.0, 0.5, 38.0, sample_rate, "high_pass")
        self._filters = [(one.b, one.a) for one in (shelf, high_pass)]
        self._states = [np.zeros((channels, 2)), np.zeros((channels, 2))]
        self._cell = round(CELL_SECONDS * sample_rate)
        self._rest = np.zeros((channels, 0))
        self._powers: list[np.ndarray] = []

    def add(self, audio: np.ndarray) -> None:
        """Takes in the next samples, float32 [S], or [S, C]."""
        weighted = np.atleast_2d(audio.T).astype(np.float64)
        for place, (b, a) in enumerate(self._filters):
            weighted, self._states[place] = scipy.signal.lfilter(b, a, weighted, zi=self._states[place])
        weighted = np.concatenate([self._rest, weighted], axis=1)
        whole = weighted.shape[1] // self._cell * self._cell
        self._rest = weighted[:, whole:]
        cells = weighted[:, :whole].reshape(len(weighted), -1, self._cell)
        self._powers.append(np.mean(np.square(cells), axis=2).sum(axis=0))

    def momentary(self) -> np.ndarray:
        """LUFS of each block of 0.4 s, a new one every CELL_SECONDS (EBU Tech 3341), float64 [N]; -inf for silence."""
        with np.errstate(divide="ignore"):
            return 10 * np.log10(self._blocks()) + OFFSET

    def integrated(self) -> float | None:
        """LUFS of all that came in; None where no block is above the absolute gate, or none is whole."""
        blocks = self._blocks()
        loud = blocks[blocks > _power(ABSOLUTE_GATE)]
        if not len(loud):
            return None
        gate = 10 * np.log10(loud.mean()) + OFFSET + RELATIVE_GATE
        return float(10 * np.log10(loud[loud > _power(gate)].mean()) + OFFSET)

    def _blocks(self) -> np.ndarray:
        """Power of each block that is whole, float64 [N]."""
        cells = np.concatenate([np.zeros(0), *self._powers])
        return np.convolve(cells, np.ones(CELLS) / CELLS, mode="valid") if len(cells) >= CELLS else np.zeros(0)


def _power(lufs: float) -> float:
    return 10 ** ((lufs - OFFSET) / 10)
