"""Clips at one loudness (ITU-R BS.1770), none of them with peaks that a player would clip: louder would win."""

from collections.abc import Mapping

import numpy as np

from musicgen_jax.audio import signal_checks
from musicgen_jax.data import loudness
from musicgen_jax.runtime.errors import UserError

TARGET_LUFS = -23.0  # EBU R 128
MAX_TRUE_PEAK_DB = -1.0  # dBTP
FADE_SECONDS = 0.005


def lufs(audio: np.ndarray, sample_rate: int) -> float | None:
    """Integrated loudness of float [S, C]; None for what is too quiet to have one."""
    meter = loudness.Loudness(sample_rate, audio.shape[1])
    meter.add(audio)
    return meter.integrated()


def gains(audio: Mapping[str, np.ndarray], sample_rate: int, item: str, follows: Mapping[str, str]) -> dict[str, float]:
    """Gain in dB of each signal of an item, so that all of them are equally loud.

    That is TARGET_LUFS, or less for the whole item where otherwise one's true peak would pass MAX_TRUE_PEAK_DB.

    Args:
      audio: name -> float [S, C].
      sample_rate: Hz.
      item: its name, for the message.
      follows: signals that get the gain of another one, whatever their own loudness: anchors that of the reference,
        since nothing but the filter is to tell them from it.

    Raises:
      UserError: a clip is too quiet for a loudness.
    """
    found = {}
    for name, one in audio.items():
        level = None if name in follows else lufs(one, sample_rate)
        if level is None and name not in follows:
            raise UserError(f"{item} of {name} is below {loudness.ABSOLUTE_GATE:g} LUFS all along: leave the item out")
        found[name] = 0.0 if level is None else TARGET_LUFS - level
    found |= {name: found[other] for name, other in follows.items()}
    peaks = [_true_peak_db(one) + found[name] for name, one in audio.items()]
    room = min(0.0, MAX_TRUE_PEAK_DB - max(peaks))
    return {name: gain + room for name, gain in found.items()}


def _true_peak_db(audio: np.ndarray) -> float:
    return float(20 * np.log10(max(signal_checks.true_peak(channel) for channel in audio.T.astype(np.float64))))


def amplified(audio: np.ndarray, gain_db: float, sample_rate: int) -> np.ndarray:
    """float64 [S, C] with the gain, faded in and out within FADE_SECONDS so that nothing clicks."""
    fade = max(1, round(FADE_SECONDS * sample_rate))
    ramp = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade) ** 2
    result = audio.astype(np.float64) * 10 ** (gain_db / 20)
    result[:fade] *= ramp[:, None]
    result[-fade:] *= ramp[::-1, None]
    return result
