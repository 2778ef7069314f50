"""What is wrong with a signal, whatever it plays: clipping, offset, silence, an end that is cut off."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.signal

CLIPPED = 1 - 2**-15  # as loud as the loudest number of 16 bits
CLIPPED_RUN = 3  # samples in a row that are: one alone may be the top of a wave
TRUE_PEAK_DB = -0.1  # dBTP; above it players and encoders clip
OVERSAMPLING = 4  # ITU-R BS.1770-5, annex 2
OFFSET = 0.01  # of full scale
SILENCE_DB = -60.0  # dBFS of a stretch of FRAME_SECONDS
SILENT_SHARE = 0.5
FRAME_SECONDS = 0.05
END_SECONDS = 0.005
END_DB = -20.0  # of an end at which nothing should sound any more, against the whole clip
LOUD_END_DB = -6.0  # of an end of which that is not known: music that was asked for by the second rarely ends in a rest
SENTENCES = {
    "clipped": "its loudest waves are clipped",
    "true_peak": "its peaks between the samples reach full scale",
    "dc_offset": "its mean is not zero",
    "silent": "most of it is silence",
    "truncated_end": "its end is cut off",
}
_BLOCK, _MARGIN = 1 << 18, 64  # samples; the filter of `resample_poly` reaches 10 to either side


@dataclasses.dataclass(frozen=True)
class Signal:
    """Measures of one clip.

    Attributes:
      peak_db: highest sample, dBFS; None for digital silence, as is true_peak_db.
      true_peak_db: highest value of the wave between the samples as well, dBTP.
      clipped_samples: samples in runs of at least CLIPPED_RUN at full scale.
      dc_offset: mean, of full scale.
      silent_share: share of the stretches of FRAME_SECONDS that are below SILENCE_DB, in [0, 1].
      end_db: level of the last END_SECONDS against that of the whole clip; None where one of them is silent.
      flags: names of what is wrong, of `SENTENCES`.
    """

    peak_db: float | None
    true_peak_db: float | None
    clipped_samples: int
    dc_offset: float
    silent_share: float
    end_db: float | None
    flags: tuple[str, ...] = ()


def check(audio: np.ndarray, sample_rate: int, sounds_at_end: bool | None = None) -> Signal:
    """Measures a clip and names what is wrong with it.

    Args:
      audio: float [S], full scale 1.
      sample_rate: Hz.
      sounds_at_end: whether what is played goes on to the end of the clip or beyond, so that an end that is cut off is
        no fault; None where that is not known.
    """
    audio = np.asarray(audio, np.float64)
    frame = max(1, round(FRAME_SECONDS * sample_rate))
    levels = _levels_db(audio, frame)
    end = max(1, round(END_SECONDS * sample_rate))
    whole, last = _level_db(audio), _level_db(audio[-end:])
    measured = Signal(
        peak_db=_decibels(np.abs(audio).max(initial=0)),
        true_peak_db=_decibels(true_peak(audio)),
        clipped_samples=_clipped(audio),
        dc_offset=float(audio.mean()) if audio.size else 0.0,
        silent_share=float(np.mean(levels < SILENCE_DB)) if levels.size else 1.0,
        end_db=last - whole if np.isfinite([last, whole]).all() else None,
    )
    return dataclasses.replace(measured, flags=_flags(measured, sounds_at_end))


def true_peak(audio: np.ndarray) -> float:
    """Highest absolute value of a signal float [S] at OVERSAMPLING times its rate, as ITU-R BS.1770-5's annex 2 has it.

    Block by block, for bounded memory.
    """
    highest = 0.0
    for start in range(0, audio.size, _BLOCK):
        first = max(0, start - _MARGIN)
        wave = scipy.signal.resample_poly(audio[first : start + _BLOCK + _MARGIN], OVERSAMPLING, 1)
        inside = wave[OVERSAMPLING * (start - first) :][: OVERSAMPLING * _BLOCK]
        highest = max(highest, float(np.abs(inside).max()))
    return highest


def describe(flags: Sequence[str]) -> str:
    """What flags mean, for people; one that is not known, of another version, as it is."""
    return ", ".join(SENTENCES.get(flag, flag) for flag in flags)


def _flags(measured: Signal, sounds_at_end: bool | None) -> tuple[str, ...]:
    loudest_end = {None: LOUD_END_DB, False: END_DB, True: np.inf}[sounds_at_end]
    wrong = {
        "clipped": measured.clipped_samples > 0,
        "true_peak": measured.true_peak_db is not None and measured.true_peak_db > TRUE_PEAK_DB,
        "dc_offset": abs(measured.dc_offset) > OFFSET,
        "silent": measured.silent_share > SILENT_SHARE,
        "truncated_end": measured.end_db is not None and measured.end_db > loudest_end,
    }
    return tuple(name for name, holds in wrong.items() if holds)


def _decibels(amplitude: float) -> float | None:
    return float(20 * np.log10(amplitude)) if amplitude > 0 else None


def _level_db(audio: np.ndarray) -> float:
    """Root mean square, dBFS; minus infinity for silence."""
    return float(_levels_db(audio, max(1, audio.size))[0]) if audio.size else -np.inf


def _levels_db(audio: np.ndarray, frame: int) -> np.ndarray:
    """Root mean square of consecutive frames, dBFS; a rest that does not fill a frame is one of its own."""
    starts = np.arange(0, audio.size, frame)
    if not starts.size:
        return np.zeros(0)
    power = np.add.reduceat(audio**2, starts) / np.diff(np.append(starts, audio.size))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(power)


def _clipped(audio: np.ndarray) -> int:
    """Samples in runs of at least CLIPPED_RUN at full scale, of one sign."""
    total = 0
    for sign in (1, -1):
        full = np.concatenate([[False], sign * audio >= CLIPPED, [False]])
        edges = np.flatnonzero(np.diff(full.astype(np.int8)))
        lengths = edges[1::2] - edges[::2]
        total += int(lengths[lengths >= CLIPPED_RUN].sum())
    return total
