"""MUSHRA's anchors: the reference through a low-pass filter of 3.5 kHz, and one of 7 kHz."""

import numpy as np
import scipy.signal

from musicgen_jax.listening.ratings import LOW_ANCHOR, MID_ANCHOR

CUTOFFS = {LOW_ANCHOR: 3500.0, MID_ANCHOR: 7000.0}  # Hz: end of the pass band
STOP = 8 / 7  # of the cutoff: 4 kHz for the anchor of 3.5 kHz
ATTENUATION_DB = 65.0  # beyond it: the standard wants 25 at 4 kHz and 50 from 4.5 kHz on


def unavailable(name: str, sample_rate: int) -> str:
    """Why clips of that rate have no such anchor; "" where they have."""
    if sample_rate >= 2 * STOP * CUTOFFS[name]:
        return ""
    return f"clips of {sample_rate} Hz have little above {CUTOFFS[name] / 1000:g} kHz that a low-pass filter could take"


def low_pass(cutoff: float, sample_rate: int) -> np.ndarray:
    """Taps of a linear-phase FIR filter, odd in number and symmetric, so that its delay is a whole number of samples.

    ITU-R BS.1534-3 asks for at most 0.1 dB of ripple up to 3.5 kHz and for 25 dB at 4 kHz, 50 dB from 4.5 kHz; other
    cutoffs scale. Kaiser's window method: 65 dB from 4 kHz on leave a ripple of 0.005 dB. It is the same filter at any
    rate, but for the number of taps.

    Args:
      cutoff: Hz, the end of the pass band.
      sample_rate: Hz, at least 2 * STOP * cutoff.

    Returns:
      float64 [T], with a gain of 1 at 0 Hz.
    """
    width = (STOP - 1) * cutoff
    num_taps, beta = scipy.signal.kaiserord(ATTENUATION_DB, width / (sample_rate / 2))
    return scipy.signal.firwin(num_taps | 1, cutoff + width / 2, window=("kaiser", beta), fs=sample_rate)


def make(audio: np.ndarray, name: str, sample_rate: int) -> np.ndarray:
    """The anchor of a reference, with no delay against it.

    Args:
      audio: float [S, C].
      name: of CUTOFFS.
      sample_rate: Hz, for which `unavailable` gives no reason.

    Returns:
      float64 [S, C].
    """
    taps = low_pass(CUTOFFS[name], sample_rate)[:, None]
    delay = len(taps) // 2
    return scipy.signal.oaconvolve(audio.astype(np.float64), taps, mode="full", axes=0)[delay : delay + len(audio)]
